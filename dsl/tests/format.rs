//! The formatter: what the one style looks like, and that it changes nothing else.

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use mlp_dsl::{FormatError, Severity, format};
use proptest::prelude::*;
use support::formatting::{formatted, is_harmless};

#[track_caller]
fn becomes(text: &str, expected: &str) {
    let found = formatted(text);
    assert_eq!(found, expected, "\n--- found\n{found}\n--- expected\n{expected}");
    assert_eq!(formatted(&found), found, "formatting again changes\n{found}");
}

#[track_caller]
fn stays(text: &str) {
    becomes(text, text);
}

#[test]
fn neighbouring_declarations_stand_in_columns() {
    becomes(
        "pipeline   p\nparam epochs:int=30 in 1 ..= 500\n/// Rate.\nparam lr : float?=none\nparam sizes: list( int )= [ 64,32 ]\n\nparam x: int\n",
        "pipeline p\nparam epochs: int       = 30 in 1..=500\n/// Rate.\nparam lr:     float?    = none\n\
         param sizes:  list(int) = [64, 32]\n\nparam x: int\n",
    );
    becomes(
        "pipeline p\nsource raw=csv.read( \"a\",schema:S )\nstep quality = eval.binary(m,raw)\n\nstep x = f(raw)\n",
        "pipeline p\nsource raw   = csv.read(\"a\", schema: S)\nstep quality = eval.binary(m, raw)\n\nstep x = f(raw)\n",
    );
}

#[test]
fn columns_and_checks_stand_in_columns_of_their_own() {
    becomes(
        "pipeline p\nschema S open {\n id: str key,\n  \"Store Name\": str? in [\"a\"], price: decimal(10,2)>=0\n  tenure: float\n     >= 0\n}\n",
        "pipeline p\nschema S open {\n  id:           str   key\n  \"Store Name\": str?  in [\"a\"]\n  price:        decimal(10, 2) >= 0\n  tenure:       float >= 0\n}\n",
    );
    becomes(
        "pipeline p\ngate g {\n floor quality.auc>=0.8,\n better quality.auc-before.auc >= -0.005\n first floor only }\n",
        "pipeline p\ngate g {\n  floor   quality.auc >= 0.8\n  better  quality.auc - before.auc >= -0.005\n  first   floor only\n}\n",
    );
    stays("pipeline p\nschema S { id: str key, y: bool label }\ngate g { a q.x > -1 first refuse }\nschema T {}\n");
    becomes(
        "pipeline p\nschema S { id: str key y:bool label, \"z\": float ?, }\n",
        "pipeline p\nschema S { id: str key, y: bool label, \"z\": float? }\n",
    );
    becomes(
        "pipeline p\ngate g {\n  a\n    q.x > 1\n  b -q.x < 1\n}\n",
        "pipeline p\ngate g {\n  a  q.x > 1\n  b  -q.x < 1\n}\n",
    );
}

#[test]
fn comments_stay_with_what_they_stand_with_and_align() {
    becomes(
        "//! The pipeline.\n\n\n// first\npipeline p // name\n/// Doc.\nparam a: int = 3 // short\nparam longer: int = 3 /// not doc\n\n\n\n// last\n",
        "//! The pipeline.\n\n// first\npipeline p             // name\n/// Doc.\nparam a:      int = 3  // short\nparam longer: int = 3  /// not doc\n\n// last\n",
    );
    becomes(
        "pipeline p\nschema S { // all\n  // of it\n  id: str, // the id\n\n\n  b: bool } // end\n",
        "pipeline p\nschema S {  // all\n  // of it\n  id: str   // the id\n\n  b: bool\n}  // end\n",
    );
    becomes(
        "pipeline p\nstep a = f(x, // one\n  y: 2\n  // two\n  )\n",
        "pipeline p\nstep a = f(\n  x,  // one\n  y: 2\n  // two\n)\n",
    );
    becomes(
        "pipeline p\nparam a: int // type\n  = 3\n  // rule\n  in [1]\n",
        "pipeline p\nparam a: int  // type\n    = 3\n    // rule\n    in [1]\n",
    );
}

#[test]
fn long_calls_go_on_below_their_first_argument() {
    becomes(
        "pipeline p\nstep model = torch.train(parts.train, target: Churn, net: torch.mlp([64, 32], dropout: 0.2), epochs, lr, batch: 256, one_hot: [a, b]) with { timeout: 30m, retries: 2 }\n",
        "pipeline p\nstep model = torch.train(parts.train, target: Churn, net: torch.mlp([64, 32], dropout: 0.2), epochs, lr, batch: 256,\n                         one_hot: [a, b])\n             with { timeout: 30m, retries: 2 }\n",
    );
    becomes(
        "pipeline p\nstep model = torch.train(parts.train,\n   target: y)\n   with { retries: 2 }\n",
        "pipeline p\nstep model = torch.train(parts.train, target: y) with { retries: 2 }\n",
    );
    stays(
        "pipeline p\nstep model = torch.train(\n  parts.train,\n  target: y, net: torch.logistic(),\n\n  seed: 3\n)\n",
    );
    stays("pipeline p\nrelease churn = bundle {\n  model, threshold: 0.5,\n  schema: S,\n} when good and fair\n");
}

#[test]
fn a_declaration_that_does_not_fit_on_its_line_opens_its_braces() {
    let columns: Vec<String> = (0..12).map(|i| format!("column_{i}: int")).collect();
    let rows: Vec<String> = (0..12).map(|i| format!("  {:<10} int\n", format!("column_{i}:"))).collect();
    becomes(
        &format!("pipeline p\nschema S {{ {} }}\n", columns.join(", ")),
        &format!("pipeline p\nschema S {{\n{}}}\n", rows.concat()),
    );
}

#[test]
fn bodies_of_templates_and_loops_are_laid_out_like_files() {
    becomes(
        "pipeline p\ndef judged(data:table,test: float=0.2 in 0.05 ..= 0.5){ step parts=table.split(data,test:test)\n\n\n  // the model\n      step model = f(parts.train)\n       with { retries: 2 }\n  result {model,rows:parts.test} }\nfor width in [16,32] as by_width {\n step model = f(width) // one\n\n step q = g(model,width) }\nlet x=1\n",
        "pipeline p\ndef judged(data: table, test: float = 0.2 in 0.05..=0.5) {\n  step parts = table.split(data, test: test)\n\n  // the model\n  step model = f(parts.train) with { retries: 2 }\n  result { model, rows: parts.test }\n}\nfor width in [16, 32] as by_width {\n  step model = f(width)  // one\n\n  step q = g(model, width)\n}\nlet x = 1\n",
    );
    stays("use \"lib/features.mlp\" as features\nuse std.evaluation as evaluation\n\nschema S { id: str key }\n");
}

#[test]
fn texts_over_several_lines_are_not_touched() {
    stays(
        "pipeline p\nstep a = sql(\"\"\"\n  select  x   \n\n\n\tfrom raw   \n    \"\"\", tables: { raw })  // same\nstep b = f(a)\n",
    );
    becomes(
        "pipeline p\r\nstep a=sql(\"\"\"x\r\n y\"\"\", b)\r\n\r\n\r\nstep b = f(a)\r\n",
        "pipeline p\r\nstep a = sql(\"\"\"x\r\n y\"\"\", b)\r\n\r\nstep b = f(a)\r\n",
    );
}

#[test]
fn signs_and_operators_are_told_apart() {
    becomes(
        "pipeline p\nstep a = f(- 1, x:-y, z: (a-b)*- 3, r: 2026 - 9-1, n: not(x))\n",
        "pipeline p\nstep a = f(-1, x: -y, z: (a - b) * -3, r: 2026 - 9 - 1, n: not (x))\n",
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_its_mistakes() {
    let Err(FormatError::Syntax(diagnostics)) = format("pipeline p\nparam a int\nstep b = f(\n") else {
        panic!("formatted what cannot be read")
    };
    let codes: Vec<_> = diagnostics.iter().map(|d| d.code.as_ref()).collect();
    assert_eq!(codes, ["E0103", "E0105"]);
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("\u{feff}// only\r\n"), "// only\r\n");
}

#[test]
fn the_reference_pipelines_have_the_style() {
    for file in pipelines() {
        let text = std::fs::read_to_string(&file).expect("readable");
        assert!(formatted(&text) == text, "{} is not formatted: `mlp fmt` does it", file.display());
    }
}

#[test]
fn the_examples_of_the_documents_have_the_style() {
    for (name, text) in documents() {
        for block in blocks(&text) {
            let found = formatted(&block);
            assert!(found == block, "an example of {name} is not formatted; it should be\n{found}");
        }
    }
}

#[test]
fn formatting_changes_no_meaning_and_loses_no_comment() {
    let mut texts: Vec<String> = Vec::new();
    for file in files_of(&folder("tests/cases")) {
        let written = std::fs::read_to_string(file).expect("readable");
        let files = written.split("--- ").flat_map(|case| case.split("=== "));
        texts.extend(files.map(|file| file.split_once('\n').map_or("", |(_, text)| text).to_owned()));
    }
    texts.extend(pipelines().iter().map(|file| std::fs::read_to_string(file).expect("readable")));
    texts.extend(documents().iter().flat_map(|(_, text)| blocks(text)));
    let n_formatted = texts.iter().filter(|text| is_harmless(text)).count();
    assert!(n_formatted >= 60, "only {n_formatted} of {} texts were formatted", texts.len());
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn pipelines() -> Vec<PathBuf> {
    let folders = files_of(&folder("../pipelines")).into_iter().filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| files_of(&folder));
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|ext| ext == "mlp")).collect();
    assert!(!files.is_empty());
    files
}

fn documents() -> Vec<(String, String)> {
    let files = files_of(&folder("../docs")).into_iter().filter(|file| file.extension().is_some_and(|ext| ext == "md"));
    files.map(|file| (file.display().to_string(), std::fs::read_to_string(&file).expect("readable"))).collect()
}

/// Returns the examples in the language.
fn blocks(text: &str) -> Vec<String> {
    let fences = ["```mlp\n", "```mlp-part\n"];
    let blocks = fences.iter().flat_map(|fence| text.split(fence).skip(1));
    blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

// Generated programs: declarations as lists of tokens, with any blanks, line breaks and comments between them.

/// What stands between two tokens.
#[derive(Debug, Clone)]
enum Between {
    Little,
    Blanks(usize),
    Lines(usize, usize),
    Comment { own_line: bool, n: u16, indent: usize },
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        12 => Just(Between::Little),
        4 => (1_usize..4).prop_map(Between::Blanks),
        2 => (1_usize..4, 1_usize..9).prop_map(|(n, indent)| Between::Lines(n, indent)),
        1 => (any::<bool>(), any::<u16>(), 1_usize..9)
            .prop_map(|(own_line, n, indent)| Between::Comment { own_line, n, indent }),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,24}".prop_filter("a word of the language", |name| {
        let words = "pipeline param schema source step gate release with when bundle champion true false none and or not in \
                     if else as as_of use def for each test effect on alert deploy policy monitor features sweep backtest \
                     report import then let first only refuse open closed result given expect";
        !words.split_whitespace().any(|word| word == name)
    })
}

fn value() -> impl Strategy<Value = Vec<String>> {
    let simple = prop_oneof![
        name().prop_map(|name| vec![name]),
        any::<u32>().prop_map(|n| vec![n.to_string()]),
        (any::<u16>(), 0_u8..100).prop_map(|(a, b)| vec!["-".into(), format!("{a}.{b}e-3")]),
        "[ a-z/\\*#]{0,30}".prop_map(|text| vec![format!("\"{text}\"")]),
        "[ a-z\n/\\*]{0,40}".prop_map(|text| vec![format!("\"\"\"{text}\"\"\"")]),
        Just(vec!["2026-09-01".into()]),
        Just(vec!["1h30m".into()]),
        (name(), name()).prop_map(|(a, b)| vec![format!("{a}.{b}")]),
    ];
    simple.prop_recursive(3, 24, 6, |inner| {
        let list = |open: &'static str, close: &'static str, named: bool| {
            (prop::collection::vec((name(), inner.clone()), 0..7), any::<bool>()).prop_map(move |(items, comma)| {
                let mut tokens = vec![open.to_owned()];
                let n = items.len();
                for (i, (name, item)) in items.into_iter().enumerate() {
                    if named {
                        tokens.extend([name, ":".into()]);
                    }
                    tokens.extend(item);
                    if i + 1 < n || comma {
                        tokens.push(",".into());
                    }
                }
                tokens.push(close.into());
                tokens
            })
        };
        prop_oneof![
            list("[", "]", false),
            list("{", "}", true),
            (name(), list("(", ")", true)).prop_map(|(name, args)| [vec![name], args].concat()),
            (inner.clone(), 0..8_usize, inner.clone()).prop_map(|(a, op, b)| {
                let op = ["+", "-", "*", "/", "%", "and", "or", "=="][op];
                [vec!["(".into()], a, vec![op.to_owned()], b, vec![")".into()]].concat()
            }),
        ]
    })
}

fn declaration() -> impl Strategy<Value = Vec<String>> {
    let words = |words: &str| -> Vec<String> { words.split_whitespace().map(str::to_owned).collect() };
    let param = (name(), 0..4_usize, value()).prop_map(move |(name, ty, value)| {
        let ty = words(["int", "float ?", "list ( int )", "decimal ( 18 , 2 )"][ty]);
        [vec!["param".into(), name, ":".into()], ty, vec!["=".into()], value].concat()
    });
    let schema =
        (name(), prop::collection::vec((name(), 0..5_usize, any::<bool>()), 0..6)).prop_map(move |(name, columns)| {
            let mut tokens = vec!["schema".into(), name, "{".into()];
            for (name, rest, comma) in columns {
                tokens.extend([name, ":".into()]);
                let rest =
                    ["str key", "int in 0 ..= 9", "float ? >= - 1", "decimal ( 9 , 2 ) unusable \"why\"", "bool label"]
                        [rest];
                tokens.extend(words(rest));
                if comma {
                    tokens.push(",".into());
                }
            }
            tokens.push("}".into());
            tokens
        });
    let step = (any::<bool>(), name(), value(), any::<bool>()).prop_map(move |(source, name, value, with)| {
        let word = if source { "source" } else { "step" };
        let options = if with { words("with { retries : 2 , timeout : 30m }") } else { Vec::new() };
        [vec![word.into(), name, "=".into(), "op".into(), "(".into()], value, vec![")".into()], options].concat()
    });
    let gate = (name(), prop::collection::vec((name(), value(), value()), 1..4)).prop_map(|(name, checks)| {
        let mut tokens = vec!["gate".into(), name, "{".into()];
        for (name, left, right) in checks {
            tokens.extend([vec![name], left, vec![">=".into()], right].concat());
        }
        tokens.push("}".into());
        tokens
    });
    let release =
        (name(), name(), prop::collection::vec(name(), 1..5), any::<bool>()).prop_map(|(name, part, gates, bundle)| {
            let mut tokens = vec!["release".into(), name, "=".into()];
            tokens.extend(if bundle { vec!["bundle".into(), "{".into(), part, "}".into()] } else { vec![part] });
            for (i, gate) in gates.into_iter().enumerate() {
                tokens.extend([if i == 0 { "when".into() } else { "and".into() }, gate]);
            }
            tokens
        });
    let body =
        (any::<bool>(), name(), prop::collection::vec((name(), value()), 1..4)).prop_map(|(is_def, name, steps)| {
            let head =
                if is_def { format!("def {name} ( data : table )") } else { format!("for x in [ 1 , 2 ] as {name}") };
            let mut tokens: Vec<String> = head.split_whitespace().map(str::to_owned).collect();
            tokens.push("{".into());
            for (name, value) in steps {
                let step = [vec![LINE.into(), "step".into(), name, "=".into(), "op".into(), "(".into()], value];
                tokens.extend([step.concat(), vec![")".into()]].concat());
            }
            tokens.push(LINE.into());
            tokens.extend(if is_def {
                vec!["result".into(), "=".into(), "data".into(), LINE.into()]
            } else {
                Vec::new()
            });
            tokens.push("}".into());
            tokens
        });
    prop_oneof![param, schema, step, gate, release, body]
}

/// A place among tokens where a line ends in any case: a declaration follows.
const LINE: &str = "\n ";

fn program() -> impl Strategy<Value = String> {
    let declared = (declaration(), prop::collection::vec(between(), 8..40), 0..4_usize, any::<bool>());
    prop::collection::vec(declared, 1..7).prop_map(|declarations| {
        let mut text = String::from("pipeline p\n");
        for (tokens, between, n_lines, doc) in declarations {
            text.push_str(&"\n".repeat(n_lines));
            if doc {
                text.push_str("/// What it is.\n");
            }
            for (i, token) in tokens.iter().enumerate() {
                if i > 0 && token != LINE && tokens[i - 1] != LINE {
                    push_between(&mut text, &between[i % between.len()], &tokens[i - 1], token);
                }
                text.push_str(token);
            }
            text.push('\n');
        }
        text
    })
}

fn push_between(text: &mut String, between: &Between, before: &str, after: &str) {
    let joins =
        |token: &str| token.chars().next().is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '"' | '-' | '.'));
    match between {
        Between::Little if before == "," || (!joins(before) || !joins(after)) && !"=<>.".contains(before) => {}
        Between::Little => text.push(' '),
        Between::Blanks(n) => text.push_str(&" ".repeat(*n)),
        Between::Lines(n, indent) => {
            text.push_str(&"\n".repeat(*n));
            text.push_str(&" ".repeat(*indent));
        }
        Between::Comment { own_line, n, indent } => {
            let before = if *own_line { format!("\n{}", " ".repeat(*indent)) } else { " ".into() };
            write!(text, "{before}// comment {n}\n{}", " ".repeat(*indent)).expect("to a string");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_programs_keep_meaning_and_comments(text in program()) {
        prop_assert!(is_harmless(&text), "a generated program cannot be read: {:#?}\n{}", format(&text).err(), text);
    }

    #[test]
    fn any_text_is_formatted_or_refused(text in any::<String>()) {
        is_harmless(&text);
    }
}

#[test]
fn a_file_typed_letter_by_letter_is_formatted_or_refused() {
    let file = folder("../pipelines/churn/churn.mlp");
    let text = std::fs::read_to_string(file).expect("readable");
    let n_formatted =
        (0..text.len()).filter(|end| text.is_char_boundary(*end) && format(&text[..*end]).is_ok()).count();
    assert!(n_formatted > 20, "{n_formatted}");
}

#[test]
fn long_files_are_formatted_in_linear_time() {
    let mut text = "pipeline p\n".to_owned();
    for i in 0..20_000 {
        writeln!(text, "step s{i} = sql(\"select id\", tables: {{ before: s{} }})", i % 7).expect("to a string");
    }
    let found = formatted(&text);
    assert!(found.contains("step s19999 = sql(\"select id\", tables: { before: s0 })"));
    let diagnostics = support::check("pipeline p\n").diagnostics;
    assert!(diagnostics.iter().all(|d| d.severity != Severity::Error));
}
