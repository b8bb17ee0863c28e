//! The nets that `torch.train` knows.

use mlp_model::{ArgError, ArgType, Constructor, Named, ParamType, Task, Value};

use crate::declare::{param, param_or};

pub(crate) fn nets() -> Vec<Constructor> {
    vec![
        Constructor {
            name: "torch.logistic",
            doc: "Logistic regression: a probability from a weighted sum of the features. Minimises C x (sum of the \
                  rows' log losses) + half the sum of the squared weights, as scikit-learn's LogisticRegression does.",
            args: vec![param_or(
                "c",
                ParamType::Float { min: 1e-9, max: 1e9 },
                Value::Float(1.0),
                "inverse strength of the penalty: smaller means simpler",
            )],
        },
        Constructor {
            name: "torch.linear",
            doc: "Linear regression: a number from a weighted sum of the features. Minimises the squared error plus \
                  l2 x the sum of the squared weights, as scikit-learn's Ridge does.",
            args: vec![param_or(
                "l2",
                ParamType::Float { min: 0.0, max: 1e9 },
                Value::Float(0.0),
                "strength of the penalty; 0 is ordinary least squares",
            )],
        },
        Constructor {
            name: "torch.mlp",
            doc: "A net of fully connected layers with ReLU between them.",
            args: vec![
                param(
                    "hidden",
                    ParamType::List(Box::new(ParamType::Int { min: 1, max: 65_536 })),
                    "the width of each hidden layer, at least one: `[64, 32]`",
                ),
                param_or(
                    "dropout",
                    ParamType::Float { min: 0.0, max: 0.95 },
                    Value::Float(0.0),
                    "the chance that a hidden value is left out while training",
                ),
            ],
        },
    ]
}

/// Checks that net `value` can do `task`. Returns it with every argument present and numbers of the declared type, so
/// that `torch.logistic()` and `torch.logistic(c: 1)` are one net.
pub(crate) fn check_net(value: &Value, task: Task) -> Result<Value, ArgError> {
    let error = |code, message: String| ArgError::new(code, "net", message);
    let Value::Call { name, args } = value else {
        return Err(error("E0301", format!("`net` takes a net such as `torch.mlp([64, 32])`, got {value}")));
    };
    let Some(net) = nets().into_iter().find(|net| net.name == name) else {
        return Err(error("E0301", format!("`{name}` is not a net")));
    };
    match (net.name, task) {
        ("torch.logistic", Task::Regression) => {
            let message = "`torch.logistic` gives probabilities, but the target is a number".to_owned();
            return Err(error("E0343", message).with_help("use `torch.linear()` or `torch.mlp([64, 32])`"));
        }
        ("torch.linear", Task::Binary) => {
            let message = "`torch.linear` gives numbers, but the target is a class".to_owned();
            return Err(error("E0343", message).with_help("use `torch.logistic()` or `torch.mlp([64, 32])`"));
        }
        _ => {}
    }
    let mut normal = Named::new();
    for argument in net.args {
        let value = args.get(argument.name).or(argument.default.as_ref());
        let Some(value) = value else {
            return Err(error("E0301", format!("`{name}` needs `{}`", argument.name)));
        };
        let value = match argument.ty {
            ArgType::Param(ParamType::Float { .. }) => value.as_float().map_or_else(|| value.clone(), Value::Float),
            _ => value.clone(),
        };
        normal.insert(argument.name.to_owned(), value);
    }
    if normal.get("hidden").and_then(Value::as_list).is_some_and(<[Value]>::is_empty) {
        let message = format!("`{name}` has no hidden layer");
        let instead = if task == Task::Binary { "torch.logistic()" } else { "torch.linear()" };
        let error = ArgError::new("E0343", "net.hidden", message);
        return Err(error.with_help(format!("give it a width, `[64]`, or use `{instead}`")));
    }
    Ok(Value::Call { name: name.clone(), args: normal })
}
