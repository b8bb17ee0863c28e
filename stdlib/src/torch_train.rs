//! `torch.train`: what it takes and gives. Another crate executes it.

use mlp_model::{
    ArgError, Argument, CheckedCall, Column, Inferred, Marks, ModelType, Named, ParamType, Role, Rule, Scalar,
    Signature, TableType, Task, Type, Value,
};

use crate::check::{self, at, suggest};
use crate::declare::{Operation, param, param_or, table_not};
use crate::torch_nets::{check_net, nets};

pub(crate) fn signature() -> Signature {
    Operation {
        name: "torch.train",
        version: 1,
        runner: "torch",
        doc: "
Trains a model with libtorch.

The task follows from the target. A bool target is a yes-or-no question and the model gives the probability of
`positive` (true unless said otherwise). A str target is one too: `positive` names the value that is asked for, all
others are the other class. An int, float or decimal target is a number to predict.

`features`, when left out, are all columns that are not the target and not marked `key`, `personal`, `protected`,
`label`, `known_at` or `unusable`. `although` takes in columns of the last two marks all the same. Int, float, decimal
and bool features are numbers: scaled to mean 0 and deviation 1, blanks become the mean. Str features, and those of
`one_hot`, are categories: a 0/1 input each; a blank and a value that training did not see are all zeros. All of this is
fitted on `data` alone and stored in the model, so that `torch.predict` takes rows as they are. Dates, timestamps and
durations are no features: make numbers of them first.

Columns that an open schema lets pass without declaring them are never features.

The same data, parameters, libtorch and threads give the same model, bit for bit, on a CPU.

    step model = torch.train(parts.train, target: Churn, net: torch.mlp([64, 32]), epochs: 40, seed: 1)

Errors: rows that are set aside for judging (`test`, `valid`); a feature that would give the answer away; a net or loss
that does not fit the target; at run time a blank target, a single class, a loss that is no finite number.
",
        args: args(),
    }
    .step(infer)
}

fn args() -> Vec<Argument> {
    let int = |min, max| ParamType::Int { min, max };
    let float = |min, max| ParamType::Float { min, max };
    let columns = || ParamType::Columns { of: "data" };
    let word = |word: &str| Value::Str(word.into());
    vec![
        table_not(
            "data",
            &[Role::Test, Role::Valid],
            "a model that has seen the rows which judge it looks better than it is",
            "the rows to learn from",
        ),
        param("target", ParamType::Column { of: "data" }, "the column to predict"),
        param("net", ParamType::Call(nets()), "what to train: `torch.logistic()`, `torch.linear()`, `torch.mlp([64])`"),
        param_or("features", columns(), Value::Null, "the columns to predict from"),
        param_or(
            "although",
            columns(),
            Value::List(Vec::new()),
            "features that the schema marks `known_at` or `unusable`: you vouch that they are known when the model is asked",
        ),
        param_or(
            "one_hot",
            columns(),
            Value::List(Vec::new()),
            "int and bool features whose values are names, not amounts",
        ),
        param_or(
            "epochs",
            int(1, 100_000),
            Value::Int(30),
            "how often training goes through the rows; for `torch.logistic` the most steps of its solver",
        ),
        param_or("lr", float(1e-12, 100.0), Value::Float(1e-3), "learning rate of `torch.mlp`"),
        param_or("batch", int(1, 1 << 24), Value::Int(256), "rows in one step of `torch.mlp`"),
        param_or("weight_decay", float(0.0, 100.0), Value::Float(0.0), "decay of the weights of `torch.mlp`"),
        param_or(
            "loss",
            ParamType::Choice(&["auto", "log", "mse", "mae", "huber"]),
            word("auto"),
            "what to minimise: `log` for classes; `mse`, `mae`, `huber` for numbers; `auto`: `log` or `mse`",
        ),
        param_or("positive", ParamType::Literal, Value::Null, "the target's value whose probability is the score"),
        param_or("seed", int(0, i64::MAX), Value::Int(0), "for first weights, dropout and the order of rows"),
        param_or(
            "device",
            ParamType::Choice(&["cpu", "cuda", "auto"]),
            word("auto"),
            "where to train; `auto`: on a GPU if there is one",
        ),
        param_or("threads", int(1, 64), Value::Int(1), "CPU threads; part of the result's key"),
    ]
}

fn infer(call: &CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>> {
    let table = check::table(call, "data").map_err(|error| vec![error])?;
    let name = check::string(call, "target").map_err(|error| vec![error])?;
    let target = check::column(table, "data", "target", name).map_err(|error| vec![error])?;
    let task = task(target).map_err(|error| vec![error])?;

    let mut errors = Vec::new();
    let mut params = Named::new();
    let mut settle = |name: &str, checked: Result<Value, ArgError>| match checked {
        Ok(value) => _ = params.insert(name.to_owned(), value),
        Err(error) => errors.push(error),
    };
    settle("net", check_net(call.params.get("net").unwrap_or(&Value::Null), task));
    settle("loss", loss(call, target, task));
    settle("positive", positive(call, target, task));
    for name in ["lr", "weight_decay"] {
        settle(name, check::number(call, name).map(Value::Float));
    }
    let features = features(call, table, target, &mut errors);
    check_one_hot(call, table, &features, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    params.insert("features", Value::List(features.iter().map(|f| Value::Str(f.name.clone())).collect()));
    let features = features.into_iter().cloned().collect();
    let model = ModelType { flavour: "torch".into(), task, target: target.clone(), features };
    Ok(Inferred { outputs: vec![("out".into(), Type::Model(model.into()))], params, ..Inferred::default() })
}

fn task(target: &Column) -> Result<Task, ArgError> {
    let Column { name, scalar, marks, .. } = target;
    let refused = |why: &str| {
        ArgError::new("E0404", "target", format!("column `{name}` cannot be the target: it is declared `{why}`"))
    };
    if marks.key {
        return Err(refused("key"));
    }
    if marks.protected {
        return Err(refused("protected"));
    }
    match scalar {
        Scalar::Bool | Scalar::Str => Ok(Task::Binary),
        Scalar::Int | Scalar::Float | Scalar::Decimal { .. } => Ok(Task::Regression),
        Scalar::Date | Scalar::Timestamp | Scalar::Duration => {
            let message = format!("column `{name}` is {scalar}, which cannot be predicted");
            let help = "predict a number (int, float, decimal) or a class (bool, str); make one with `sql`";
            Err(ArgError::new("E0342", "target", message).with_help(help))
        }
    }
}

fn loss(call: &CheckedCall<'_>, target: &Column, task: Task) -> Result<Value, ArgError> {
    let loss = check::string(call, "loss")?;
    let Column { name, scalar, .. } = target;
    let error = |message: String| ArgError::new("E0343", "loss", message);
    match (task, loss) {
        (Task::Binary, "auto") => Ok(Value::Str("log".into())),
        (Task::Regression, "auto") => Ok(Value::Str("mse".into())),
        (Task::Regression, "mae" | "huber") if net_name(call) == Some("torch.linear") => {
            let message = format!("`torch.linear` minimises the squared error, not `{loss}`");
            Err(error(message).with_help("leave `loss` out, or use `torch.mlp([64, 32])`"))
        }
        (Task::Binary, "log") | (Task::Regression, "mse" | "mae" | "huber") => Ok(Value::Str(loss.to_owned())),
        (Task::Binary, _) => {
            let message = format!("loss `{loss}` is for numbers, but target `{name}` is {scalar}, a class");
            Err(error(message).with_help("use `log`, or leave `loss` out"))
        }
        (Task::Regression, _) => {
            let message = format!("loss `{loss}` is for classes, but target `{name}` is {scalar}, a number");
            let help = match scalar {
                Scalar::Int => {
                    "use `mse`, `mae` or `huber`; if it is a class, declare it `bool`: 1 and 0 are then true and false"
                }
                _ => "use `mse`, `mae` or `huber`",
            };
            Err(error(message).with_help(help))
        }
    }
}

fn net_name<'a>(call: &CheckedCall<'a>) -> Option<&'a str> {
    match check::value(call, "net")? {
        Value::Call { name, .. } => Some(name),
        _ => None,
    }
}

fn positive(call: &CheckedCall<'_>, target: &Column, task: Task) -> Result<Value, ArgError> {
    let Column { name, scalar, rules, .. } = target;
    let given = check::value(call, "positive");
    let error = |code, message: String| ArgError::new(code, "positive", message);
    match (task, scalar, given) {
        (Task::Regression, _, None) => Ok(Value::Null),
        (Task::Regression, _, Some(_)) => {
            let message = format!("`positive` is for classes, but target `{name}` is {scalar}, a number");
            Err(error("E0343", message).with_help("leave it out"))
        }
        (Task::Binary, Scalar::Bool, None) => Ok(Value::Bool(true)),
        (Task::Binary, Scalar::Bool, Some(Value::Bool(positive))) => Ok(Value::Bool(*positive)),
        (Task::Binary, Scalar::Bool, Some(other)) => {
            let message = format!("`positive` must be `true` or `false`, because target `{name}` is bool; got {other}");
            Err(error("E0344", message))
        }
        (Task::Binary, _, None) => {
            let message = format!("target `{name}` is str, so `positive` must say whose probability the score is");
            let help = match allowed(rules).as_deref() {
                Some([first, ..]) => format!("for example `positive: {first:?}`"),
                _ => "for example `positive: \"yes\"`".to_owned(),
            };
            Err(error("E0344", message).with_help(help))
        }
        (Task::Binary, _, Some(Value::Str(positive))) => match allowed(rules) {
            Some(values) if !values.contains(&positive.as_str()) => {
                let message = format!("{positive:?} is not among the values that the schema allows in `{name}`");
                let help = suggest(positive, values.iter().copied());
                let help = help.unwrap_or_else(|| format!("they are {}", check::listed(values)));
                Err(error("E0344", message).with_help(help))
            }
            _ => Ok(Value::Str(positive.clone())),
        },
        (Task::Binary, _, Some(other)) => {
            let message = format!("`positive` must be a string, because target `{name}` is str; got {other}");
            Err(error("E0344", message))
        }
    }
}

/// Returns the texts that a rule allows, if a rule lists them.
fn allowed(rules: &[Rule]) -> Option<Vec<&str>> {
    rules.iter().find_map(|rule| match rule {
        Rule::OneOf(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    })
}

/// Returns the features: those that are named, else all that may be.
fn features<'t>(
    call: &CheckedCall<'_>,
    table: &'t TableType,
    target: &Column,
    errors: &mut Vec<ArgError>,
) -> Vec<&'t Column> {
    let n_errors = errors.len();
    let named = check::value(call, "features").is_some();
    let although = although(call, table, errors);
    let candidates: Vec<(Option<usize>, &Column)> = if named {
        let named = check::columns(call, table, "data", "features", errors);
        named.into_iter().map(|(element, column)| (Some(element), column)).collect()
    } else {
        let usable = |column: &&Column| {
            let is_allowed = although.contains(&column.name.as_str());
            column.name != target.name && (is_allowed || column.marks.why_not_a_feature().is_none())
        };
        table.columns.iter().filter(usable).map(|column| (None, column)).collect()
    };
    for (element, column) in &candidates {
        if let Err(mut error) = check_feature(column, target, &although) {
            error.element = *element;
            if !named {
                error.argument = Some("data".into());
            }
            errors.push(error);
        }
    }
    if candidates.is_empty() && errors.len() == n_errors {
        let message = "there is no column to predict from";
        let argument = if named { "features" } else { "data" };
        let help = "a feature is a column other than the target that is not marked `key`, `personal`, `protected`, \
                    `label`, `known_at` or `unusable`";
        errors.push(ArgError::new("E0405", argument, message).with_help(help));
    }
    candidates.into_iter().map(|(_, column)| column).collect()
}

/// Returns the columns that may be features against their marks. Of these marks only those can be overridden that tell
/// when a value is known: the others are promises about people or about the answer.
fn although<'t>(call: &CheckedCall<'_>, table: &'t TableType, errors: &mut Vec<ArgError>) -> Vec<&'t str> {
    let mut allowed = Vec::new();
    for (element, column) in check::columns(call, table, "data", "although", errors) {
        let Column { name, marks, .. } = column;
        let rest = Marks { unusable: None, known_at: None, ..marks.clone() };
        if let Some(reason) = rest.why_not_a_feature() {
            let message = format!("column `{name}` cannot be a feature at all: it {reason}");
            errors.push(at(element, ArgError::new("E0403", "although", message)));
        } else if marks.why_not_a_feature().is_none() {
            let message = format!("column `{name}` may be a feature anyway");
            let help = "leave it out here: `although` is for columns marked `known_at` or `unusable`";
            errors.push(at(element, ArgError::new("E0343", "although", message).with_help(help)));
        } else {
            allowed.push(name.as_str());
        }
    }
    allowed
}

fn check_feature(column: &Column, target: &Column, although: &[&str]) -> Result<(), ArgError> {
    let Column { name, scalar, marks, .. } = column;
    if *name == target.name {
        let message = format!("target `{name}` cannot be a feature: the model would only learn to copy it");
        return Err(ArgError::new("E0402", "features", message).with_help("leave it out of `features`"));
    }
    if let Some(reason) = marks.why_not_a_feature().filter(|_| !although.contains(&name.as_str())) {
        let error = ArgError::new("E0403", "features", format!("column `{name}` cannot be a feature: it {reason}"));
        let late = |way: &str| format!("{way}; if you vouch for it, write `although: [{name}]`");
        return Err(error.with_help(match (&marks.unusable, &marks.known_at) {
            (Some(_), _) => late("leave it out"),
            (None, Some(time)) => late(&format!(
                "bring it in with `table.join(.., as_of: .., time: {time})`, which takes what was known by then"
            )),
            (None, None) => "leave it out of `features`".to_owned(),
        }));
    }
    match scalar {
        Scalar::Int | Scalar::Float | Scalar::Decimal { .. } | Scalar::Bool | Scalar::Str => Ok(()),
        Scalar::Date | Scalar::Timestamp | Scalar::Duration => {
            let message =
                format!("column `{name}` cannot be a feature: it is {scalar}, neither a number nor a category");
            let help = "make a number of it first, for example with `sql`: `extract(month from day)`; or name the \
                        columns to use with `features`; or mark it `unusable` in the schema";
            Err(ArgError::new("E0406", "features", message).with_help(help))
        }
    }
}

fn check_one_hot(call: &CheckedCall<'_>, table: &TableType, features: &[&Column], errors: &mut Vec<ArgError>) {
    for (element, column) in check::columns(call, table, "data", "one_hot", errors) {
        let Column { name, scalar, .. } = column;
        let (code, message, help) = if !features.iter().any(|feature| feature.name == *name) {
            (
                "E0343",
                format!("column `{name}` is not a feature, so it cannot be encoded"),
                "add it to `features`, or leave it out here",
            )
        } else if !matches!(scalar, Scalar::Int | Scalar::Bool | Scalar::Str) {
            let message = format!("`one_hot` takes int, bool and str columns, `{name}` is {scalar}");
            (
                "E0342",
                message,
                "a category is a value that repeats exactly: round it to an int first, or leave it a number",
            )
        } else {
            continue;
        };
        errors.push(at(element, ArgError::new(code, "one_hot", message).with_help(help)));
    }
}
