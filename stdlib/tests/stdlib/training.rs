//! `torch.train`, `torch.predict` and the evaluations: what they give and refuse.

use mlp_model::{Column, Marks, ModelType, ReportType, Role, Rule, Scalar, TableType, Task, Type, Value};

use crate::support::{constructor, infer, mistakes, plain, table, text, texts};

fn marked(name: &str, scalar: Scalar, mark: fn(&mut Marks)) -> Column {
    let mut column = plain(name, scalar);
    mark(&mut column.marks);
    column
}

/// Every type of column and every mark.
fn rides() -> TableType {
    let kind = Rule::OneOf(vec![text("member"), text("guest")]);
    table(&[
        marked("id", Scalar::Int, |m| m.key = true),
        marked("name", Scalar::Str, |m| m.personal = true),
        marked("sex", Scalar::Str, |m| m.protected = true),
        marked("casual", Scalar::Int, |m| m.unusable = Some("part of the answer".into())),
        plain("hour", Scalar::Int),
        Column { optional: true, ..plain("temp", Scalar::Float) },
        plain("price", Scalar::Decimal { precision: 8, scale: 2 }),
        plain("holiday", Scalar::Bool),
        plain("weather", Scalar::Str),
        Column { rules: vec![kind], ..plain("kind", Scalar::Str) },
        plain("count", Scalar::Int),
    ])
}

fn logistic() -> Value {
    constructor("torch.logistic", &[("c", Value::Int(1))])
}

fn mlp() -> Value {
    constructor("torch.mlp", &[("hidden", Value::List(vec![Value::Int(64)])), ("dropout", Value::Float(0.1))])
}

type Params = Vec<(String, Value)>;

/// Trains on `table` with parameters besides target and net.
fn train(
    table: &TableType,
    target: &str,
    net: Value,
    more: &[(&str, Value)],
) -> Result<(ModelType, Params), Vec<String>> {
    let params = [&[("target", text(target)), ("net", net)], more].concat();
    let inferred = infer("torch.train", &[("data", Type::Table(table.clone()))], &params);
    let inferred = inferred.map_err(|errors| mistakes(Err(errors)))?;
    match inferred.outputs.as_slice() {
        [(name, Type::Model(model))] if name == "out" => Ok((
            model.clone().into_inner(),
            inferred.params.into_iter().map(|(name, value)| (name.into_owned(), value)).collect(),
        )),
        other => panic!("torch.train gave {other:?}"),
    }
}

#[track_caller]
fn check_refused(target: &str, net: Value, more: &[(&str, Value)], expected: &[&str]) {
    assert_eq!(train(&rides(), target, net, more).unwrap_err(), expected);
}

#[test]
fn features_left_out_are_all_columns_that_may_be() {
    let (model, params) = train(&rides(), "count", mlp(), &[("lr", Value::Int(1))]).unwrap();
    let features = ["hour", "temp", "price", "holiday", "weather", "kind"];
    let expected = ModelType {
        flavour: "torch".into(),
        task: Task::Regression,
        target: rides().column("count").unwrap().clone(),
        features: features.iter().map(|name| rides().column(name).unwrap().clone()).collect(),
    };
    assert_eq!(model, expected);
    let expected = [
        ("features", texts(&features)),
        ("loss", text("mse")),
        ("lr", Value::Float(1.0)),
        ("net", mlp()),
        ("positive", Value::Null),
        ("weight_decay", Value::Float(0.0)),
    ];
    assert_eq!(params, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn the_target_decides_the_task() {
    for (target, net, positive, task, settled) in [
        ("holiday", logistic(), Value::Null, Task::Binary, [text("log"), Value::Bool(true)]),
        ("holiday", mlp(), Value::Bool(false), Task::Binary, [text("log"), Value::Bool(false)]),
        ("weather", mlp(), text("rain"), Task::Binary, [text("log"), text("rain")]),
        ("kind", logistic(), text("guest"), Task::Binary, [text("log"), text("guest")]),
        ("temp", constructor("torch.linear", &[]), Value::Null, Task::Regression, [text("mse"), Value::Null]),
        ("price", mlp(), Value::Null, Task::Regression, [text("mse"), Value::Null]),
    ] {
        let more = [("positive", positive), ("features", texts(&["hour"]))];
        let (model, params) = train(&rides(), target, net, &more).unwrap_or_else(|e| panic!("{target}: {e:?}"));
        let found = ["loss", "positive"].map(|name| params.iter().find(|(n, _)| n == name).unwrap().1.clone());
        assert_eq!((model.task, found), (task, settled), "{target}");
    }
}

#[test]
fn nets_have_all_their_arguments_in_the_key() {
    let net = |given| {
        let (_, params) = train(&rides(), "holiday", given, &[]).unwrap();
        params.into_iter().find(|(name, _)| name == "net").unwrap().1
    };
    let full = constructor("torch.logistic", &[("c", Value::Float(1.0))]);
    assert_eq!(net(constructor("torch.logistic", &[])), full);
    assert_eq!(net(logistic()), full);
}

#[test]
fn each_column_that_cannot_be_a_feature_is_named_with_its_reason() {
    let features = texts(&["id", "name", "sex", "casual", "hour", "hour", "tmp", "count"]);
    check_refused(
        "count",
        mlp(),
        &[("features", features)],
        &[
            "E0341 features[5]: column `hour` is named twice",
            "E0312 features[6]: `tmp` is not a column of `data` | did you mean `temp`?",
            "E0403 features[0]: column `id` cannot be a feature: it is declared `key` | leave it out of `features`",
            "E0403 features[1]: column `name` cannot be a feature: it is declared `personal` | leave it out of `features`",
            "E0403 features[2]: column `sex` cannot be a feature: it is declared `protected` | leave it out of `features`",
            "E0403 features[3]: column `casual` cannot be a feature: it is declared unusable: part of the answer | leave it out; \
             if you vouch for it, write `although: [casual]`",
            "E0402 features[7]: target `count` cannot be a feature: the model would only learn to copy it | leave it out of `features`",
        ],
    );
}

#[test]
fn a_label_that_is_not_the_target_is_no_feature_either() {
    let mut labelled = rides();
    labelled.columns.push(marked("late", Scalar::Bool, |m| m.label = true));
    let expected =
        "E0403 features[0]: column `late` cannot be a feature: it is declared `label` | leave it out of `features`";
    assert_eq!(train(&labelled, "count", mlp(), &[("features", texts(&["late"]))]).unwrap_err(), [expected]);
}

#[test]
fn dates_are_refused_as_features_also_when_nobody_named_them() {
    let help = "make a number of it first, for example with `sql`: `extract(month from day)`; or name the columns to use \
                with `features`; or mark it `unusable` in the schema";
    for scalar in [Scalar::Date, Scalar::Timestamp, Scalar::Duration] {
        let mut dated = rides();
        dated.columns.push(plain("day", scalar));
        let message =
            format!("column `day` cannot be a feature: it is {scalar}, neither a number nor a category | {help}");
        let named = train(&dated, "count", mlp(), &[("features", texts(&["hour", "day"]))]).unwrap_err();
        assert_eq!(named, [format!("E0406 features[1]: {message}")]);
        assert_eq!(train(&dated, "count", mlp(), &[]).unwrap_err(), [format!("E0406 data: {message}")]);
        train(&dated, "count", mlp(), &[("features", texts(&["hour"]))]).unwrap();
    }
}

#[test]
fn a_model_needs_a_column_to_predict_from() {
    let help = "a feature is a column other than the target that is not marked `key`, `personal`, `protected`, `label`, `known_at` or \
                `unusable`";
    let only = table(&[plain("count", Scalar::Int), rides().columns[0].clone()]);
    let message = format!("there is no column to predict from | {help}");
    assert_eq!(train(&only, "count", mlp(), &[]).unwrap_err(), [format!("E0405 data: {message}")]);
    check_refused("count", mlp(), &[("features", texts(&[]))], &[&format!("E0405 features: {message}")]);
}

#[test]
fn targets_that_cannot_be_predicted_are_refused() {
    let mut dated = rides();
    dated.columns.push(plain("day", Scalar::Date));
    assert_eq!(
        train(&dated, "day", mlp(), &[]).unwrap_err(),
        ["E0342 target: column `day` is date, which cannot be predicted \
          | predict a number (int, float, decimal) or a class (bool, str); make one with `sql`"]
    );
    for (target, expected) in [
        ("cuont", "E0312 target: `cuont` is not a column of `data` | did you mean `count`?"),
        ("id", "E0404 target: column `id` cannot be the target: it is declared `key`"),
        ("sex", "E0404 target: column `sex` cannot be the target: it is declared `protected`"),
    ] {
        check_refused(target, mlp(), &[], &[expected]);
    }
}

#[test]
fn net_loss_and_positive_must_fit_the_target() {
    let loss = |word| [("loss", text(word))];
    let positive = |value| [("positive", value)];
    let linear = constructor("torch.linear", &[("l2", Value::Float(0.0))]);
    let empty = constructor("torch.mlp", &[("hidden", Value::List(vec![]))]);
    type Case<'c> = (&'c str, Value, &'c [(&'c str, Value)], &'c str);
    let cases: [Case<'_>; 13] = [
        (
            "count",
            logistic(),
            &[],
            "E0343 net: `torch.logistic` gives probabilities, but the target is a number \
             | use `torch.linear()` or `torch.mlp([64, 32])`",
        ),
        (
            "holiday",
            linear.clone(),
            &[],
            "E0343 net: `torch.linear` gives numbers, but the target is a class \
             | use `torch.logistic()` or `torch.mlp([64, 32])`",
        ),
        (
            "holiday",
            empty.clone(),
            &[],
            "E0343 net.hidden: `torch.mlp` has no hidden layer | give it a width, `[64]`, or use `torch.logistic()`",
        ),
        (
            "count",
            empty,
            &[],
            "E0343 net.hidden: `torch.mlp` has no hidden layer | give it a width, `[64]`, or use `torch.linear()`",
        ),
        (
            "count",
            mlp(),
            &loss("log"),
            "E0343 loss: loss `log` is for classes, but target `count` is int, a number | use `mse`, `mae` or `huber`; if it \
             is a class, declare it `bool`: 1 and 0 are then true and false",
        ),
        (
            "temp",
            mlp(),
            &loss("log"),
            "E0343 loss: loss `log` is for classes, but target `temp` is float, a number | use `mse`, `mae` or `huber`",
        ),
        (
            "holiday",
            mlp(),
            &loss("huber"),
            "E0343 loss: loss `huber` is for numbers, but target `holiday` is bool, a class | use `log`, or leave `loss` out",
        ),
        (
            "count",
            linear,
            &loss("mae"),
            "E0343 loss: `torch.linear` minimises the squared error, not `mae` \
             | leave `loss` out, or use `torch.mlp([64, 32])`",
        ),
        (
            "count",
            mlp(),
            &positive(Value::Int(1)),
            "E0343 positive: `positive` is for classes, but target `count` is int, a number | leave it out",
        ),
        (
            "holiday",
            mlp(),
            &positive(text("yes")),
            "E0344 positive: `positive` must be `true` or `false`, because target `holiday` is bool; got \"yes\"",
        ),
        (
            "kind",
            mlp(),
            &[],
            "E0344 positive: target `kind` is str, so `positive` must say whose probability the score is \
             | for example `positive: \"member\"`",
        ),
        (
            "kind",
            mlp(),
            &positive(text("gest")),
            "E0344 positive: \"gest\" is not among the values that the schema allows in `kind` | did you mean `guest`?",
        ),
        (
            "weather",
            mlp(),
            &positive(Value::Bool(true)),
            "E0344 positive: `positive` must be a string, because target `weather` is str; got true",
        ),
    ];
    for (target, net, more, expected) in cases {
        check_refused(target, net, more, &[expected]);
    }
}

#[test]
fn only_features_with_few_values_can_be_one_hot() {
    check_refused(
        "count",
        mlp(),
        &[("one_hot", texts(&["hour", "temp", "casual", "price", "weather"]))],
        &[
            "E0342 one_hot[1]: `one_hot` takes int, bool and str columns, `temp` is float \
             | a category is a value that repeats exactly: round it to an int first, or leave it a number",
            "E0343 one_hot[2]: column `casual` is not a feature, so it cannot be encoded \
             | add it to `features`, or leave it out here",
            "E0342 one_hot[3]: `one_hot` takes int, bool and str columns, `price` is decimal(8, 2) \
             | a category is a value that repeats exactly: round it to an int first, or leave it a number",
        ],
    );
}

#[test]
fn mistakes_of_different_arguments_are_told_at_once() {
    let more = [("features", texts(&["casual"])), ("loss", text("log")), ("positive", Value::Bool(true))];
    let codes: Vec<String> =
        train(&rides(), "count", logistic(), &more).unwrap_err().iter().map(|line| line[..5].to_owned()).collect();
    assert_eq!(codes, ["E0343", "E0343", "E0343", "E0403"]);
}

fn model(target: &str, net: Value, features: &[&str]) -> ModelType {
    train(&rides(), target, net, &[("features", texts(features))]).unwrap().0
}

fn predict(model: ModelType, data: &TableType, keep: &[&str]) -> Result<TableType, Vec<String>> {
    let inputs = [("model", Type::Model(model.into())), ("data", Type::Table(data.clone()))];
    let inferred = infer("torch.predict", &inputs, &[("keep", texts(keep))]).map_err(|errors| mistakes(Err(errors)))?;
    match inferred.outputs.into_iter().next() {
        Some((_, Type::Table(table))) => Ok(table),
        other => panic!("torch.predict gave {other:?}"),
    }
}

#[test]
fn scores_come_behind_what_is_kept_and_what_happened() {
    let actual = |scalar| marked("actual", scalar, |m| m.label = true);
    let score = plain("score", Scalar::Float);
    let name = rides().column("name").unwrap().clone();
    let test = TableType { role: Role::Test, open: true, ..rides() };
    let cases = [
        (model("count", mlp(), &["hour"]), &["name"][..], vec![name, actual(Scalar::Float), score.clone()]),
        (model("holiday", mlp(), &["hour", "kind"]), &[], vec![actual(Scalar::Bool), score.clone()]),
    ];
    for (model, keep, columns) in cases {
        assert_eq!(
            predict(model, &test, keep),
            Ok(TableType { columns: columns.into(), open: false, role: Role::Test })
        );
    }
    let new = table(&[plain("hour", Scalar::Int)]);
    assert_eq!(predict(model("count", mlp(), &["hour"]), &new, &[]).unwrap().columns.to_vec(), [score]);
}

#[test]
fn what_happened_may_be_blank_where_the_target_may_and_keeps_its_secrets() {
    let mut rides = rides();
    rides.columns.retain(|column| column.name != "count");
    rides
        .columns
        .push(Column { optional: true, ..marked("count", Scalar::Int, |m| (m.personal, m.label) = (true, true)) });
    let found = predict(model("count", mlp(), &["hour"]), &rides, &[]).unwrap();
    let actual = Column { optional: true, ..marked("actual", Scalar::Float, |m| (m.personal, m.label) = (true, true)) };
    assert_eq!(found.columns[0], actual);
}

#[test]
fn rows_must_have_the_features_of_the_model() {
    let model = || model("count", mlp(), &["hour", "temp", "weather"]);
    let other = [plain("hours", Scalar::Int), plain("temp", Scalar::Int), plain("count", Scalar::Float)];
    assert_eq!(
        predict(model(), &table(&other), &[]).unwrap_err(),
        [
            "E0351 data: column `hour` is missing: the model was trained on it | did you mean `hours`?",
            "E0351 data: feature `temp` is int here, but the model was trained on float \
             | read both tables with the same schema, or convert it with `sql`",
            "E0351 data: column `weather` is missing: the model was trained on it \
             | prepare these rows in the same way as the training rows",
            "E0351 data: target `count` is float here, but the model was trained on int \
             | read both tables with the same schema, or leave the column out",
        ]
    );
    let open = TableType { open: true, ..table(&[plain("hour", Scalar::Int), plain("temp", Scalar::Float)]) };
    assert_eq!(
        predict(model(), &open, &[]).unwrap_err(),
        ["E0351 data: column `weather` is missing: the model was trained on it \
          | declare `weather` in the schema: undeclared columns cannot be relied on"]
    );
}

#[test]
fn a_kept_column_cannot_take_the_place_of_a_result() {
    let mut rides = rides();
    rides.columns.push(plain("score", Scalar::Float));
    assert_eq!(
        predict(model("count", mlp(), &["hour"]), &rides, &["score", "hour", "hour"]).unwrap_err(),
        [
            "E0341 keep[2]: column `hour` is named twice",
            "E0348 keep[0]: column `score` cannot be kept: the result has one of that name \
             | rename it first with `sql`, or leave it out",
        ]
    );
}

#[test]
fn a_model_of_another_flavour_has_its_own_prediction() {
    let onnx = ModelType { flavour: "onnx".into(), ..model("count", mlp(), &["hour"]) };
    assert_eq!(
        predict(onnx, &rides(), &[]).unwrap_err(),
        ["E0343 model: `torch.predict` scores models of flavour `torch`, this one is `onnx` | use `onnx.predict`"]
    );
}

fn evaluate(op: &str, columns: &[Column]) -> Result<Type, Vec<String>> {
    let inferred = infer(op, &[("predictions", Type::Table(table(columns)))], &[]);
    inferred.map(|inferred| inferred.outputs[0].1.clone()).map_err(|errors| mistakes(Err(errors)))
}

#[test]
fn evaluations_say_which_metrics_their_report_has() {
    let score = plain("score", Scalar::Float);
    for (op, actual, metrics) in [
        (
            "eval.binary",
            Scalar::Bool,
            "auc average_precision log_loss brier precision recall f1 accuracy ece tp fp tn fn positives rows threshold",
        ),
        ("eval.regression", Scalar::Float, "mae rmse r2 medae max_error mape rows"),
    ] {
        let metrics = metrics.split(' ').map(str::to_owned).collect();
        assert_eq!(
            evaluate(op, &[plain("actual", actual), score.clone()]),
            Ok(Type::Report(ReportType { metrics }.into()))
        );
    }
}

#[test]
fn evaluations_refuse_models_of_the_other_task_and_rows_without_the_target() {
    let score = plain("score", Scalar::Float);
    let lacks = "E0353 data: the evaluated table lacks the target, so there is nothing to compare with \
                 | evaluate on rows that have the column the model predicts";
    for (op, columns, expected) in [
        (
            "eval.binary",
            vec![plain("actual", Scalar::Float), score.clone()],
            "E0352 model: `eval.binary` judges yes-or-no models, but this one predicts a number | use `eval.regression`",
        ),
        (
            "eval.regression",
            vec![plain("actual", Scalar::Bool), score.clone()],
            "E0352 model: `eval.regression` judges models that predict a number, but this one answers yes or no \
             | use `eval.binary`",
        ),
        ("eval.binary", vec![score.clone()], lacks),
        ("eval.regression", vec![score], lacks),
        (
            "eval.binary",
            vec![plain("actual", Scalar::Bool)],
            "E0353 data: `eval.binary` needs a float column `score`, as `torch.predict` makes it \
             | score the rows with a model first",
        ),
    ] {
        assert_eq!(evaluate(op, &columns), Err(vec![expected.to_owned()]));
    }
}

#[test]
fn what_is_known_too_late_is_a_feature_only_if_somebody_vouches_for_it() {
    let late = |name: &str| {
        let marks = Marks { known_at: Some("decided".into()), ..Marks::default() };
        Column { marks, ..plain(name, Scalar::Int) }
    };
    let secret = Column { marks: Marks { protected: true, ..late("age").marks }, ..late("age") };
    let loans = table(&[plain("amount", Scalar::Int), late("collected"), secret, plain("paid", Scalar::Bool)]);
    let train = |more: &[(&str, Value)]| {
        let net = ("net", constructor("torch.logistic", &[("l2", Value::Float(1.0))]));
        let params = [&[("target", text("paid")), net][..], more].concat();
        infer("torch.train", &[("data", Type::Table(loans.clone()))], &params)
    };
    let features = |more: &[(&str, Value)]| train(more).unwrap().params["features"].clone();
    assert_eq!(features(&[]), texts(&["amount"]));
    assert_eq!(features(&[("although", texts(&["collected"]))]), texts(&["amount", "collected"]));
    assert_eq!(
        mistakes(train(&[("features", texts(&["amount", "collected"]))])),
        [
            "E0403 features[1]: column `collected` cannot be a feature: it is known only at `decided` | bring it in with \
             `table.join(.., as_of: .., time: decided)`, which takes what was known by then; if you vouch for it, write \
             `although: [collected]`"
        ]
    );
    assert_eq!(
        mistakes(train(&[("although", texts(&["age", "amount"]))])),
        [
            "E0403 although[0]: column `age` cannot be a feature at all: it is declared `protected`",
            "E0343 although[1]: column `amount` may be a feature anyway | leave it out here: `although` is for columns marked \
             `known_at` or `unusable`",
        ]
    );
}
