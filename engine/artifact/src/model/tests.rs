use mlp_model::{Digest, Marks, Named, Rule};
use tempfile::TempDir;

use super::*;

fn card() -> ModelCard {
    let scale = |fill, mean, std| Encoding::Scale { fill, mean, std };
    let encoded = |column: &str, scalar, how| Encoded { column: column.into(), scalar, how };
    ModelCard {
        version: CARD_VERSION,
        flavour: "torch".into(),
        task: Task::Binary,
        target: Column {
            marks: Marks { label: true, ..Marks::default() },
            rules: vec![Rule::OneOf(vec![Value::Bool(true)])],
            ..Column::plain("Churn", Scalar::Bool)
        },
        positive: Some(Value::Bool(true)),
        net: Value::Call {
            name: "torch.mlp".into(),
            args: Named::from([
                ("hidden", Value::List(vec![Value::Int(64), Value::Int(32)])),
                ("dropout", Value::Float(0.123_456_789_012_345_68)),
                ("l2", Value::Float(1.0)),
            ]),
        },
        encoding: vec![
            encoded("tenure", Scalar::Int, scale(0.0, 32.371_148_655_572_9, 24.559_481_023_094_46)),
            encoded(
                "Contract",
                Scalar::Str,
                Encoding::OneHot { categories: vec!["One year".into(), "Two year".into()] },
            ),
        ],
    }
}

fn tensors() -> BTreeMap<String, Tensor> {
    let tensor = |shape: &[usize]| Tensor {
        shape: shape.to_vec(),
        data: (0..shape.iter().product()).map(|i| i as f32 / 3.0 - 1.0).collect(),
    };
    BTreeMap::from([
        ("1.weight".into(), tensor(&[2, 3])),
        ("0.weight".into(), tensor(&[3, 4])),
        ("0.bias".into(), tensor(&[3])),
        ("scalar".into(), tensor(&[])),
        ("none".into(), tensor(&[0, 4])),
    ])
}

fn read_bytes(bytes: &[u8]) -> Result<(ModelCard, BTreeMap<String, Tensor>), ModelError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model");
    fs::write(&path, bytes).unwrap();
    let card = read_card(&path, bytes.len() as u64);
    let model = read(&path, bytes.len() as u64)?;
    assert_eq!(card?, model.0);
    Ok(model)
}

/// A safetensors file with this header and 4 bytes of data.
fn file_with(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
}

#[test]
fn the_bytes_are_a_promise() {
    // When this fails, stored digests no longer fit: raise the version of every operation that makes a model.
    assert_eq!(Digest::of(&to_bytes(&card(), &tensors()).unwrap()).short(), "c9f56db102d3");
}

#[test]
fn what_was_written_reads_back_exactly() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model");
    write(&path, &card(), &tensors()).unwrap();
    // A store may keep a footer of its own after the payload.
    let mut bytes = fs::read(&path).unwrap();
    let size_bytes = bytes.len() as u64;
    bytes.extend_from_slice(b"footer of the store");
    fs::write(&path, bytes).unwrap();
    assert_eq!(read(&path, size_bytes).unwrap(), (card(), tensors()));
    assert_eq!(read_card(&path, size_bytes).unwrap(), card());
    assert!(matches!(read(&path, size_bytes + 100), Err(ModelError::Damaged { .. })));
}

#[test]
fn tensor_and_shape_must_agree() {
    let tensors = BTreeMap::from([("w".into(), Tensor { shape: vec![2, 2], data: vec![0.0; 3] })]);
    let error = to_bytes(&card(), &tensors).unwrap_err();
    assert_eq!(error.to_string(), "tensor `w` has 3 values, which is not its shape [2, 2]");
}

#[test]
fn a_card_that_would_not_read_back_is_not_written() {
    let edits: [fn(&mut ModelCard); 4] = [
        |card| card.encoding[0].how = Encoding::Scale { fill: 0.0, mean: f64::NAN, std: 1.0 },
        |card| card.encoding[1].how = Encoding::OneHot { categories: vec!["b".into(), "a".into()] },
        |card| card.encoding[1].column = "tenure".into(),
        |card| card.version = 2,
    ];
    for edit in edits {
        let mut card = card();
        edit(&mut card);
        assert!(matches!(to_bytes(&card, &tensors()), Err(ModelError::Card(_))), "{card:?}");
    }
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let bytes = to_bytes(&card(), &tensors()).unwrap();
    for len in [0, 7, 8, 100, bytes.len() - 1] {
        assert!(read_bytes(&bytes[..len]).is_err(), "{len}");
    }
    let tensor = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    for header in [
        format!("{{{tensor}}}"),
        format!(r#"{{"__metadata__":{{"other":"{{}}"}},{tensor}}}"#),
        format!(r#"{{"__metadata__":{{"mlp":"{{\"version\":9}}"}},{tensor}}}"#),
        format!(r#"{{"__metadata__":{{"mlp":"no json"}},{tensor}}}"#),
    ] {
        assert!(matches!(read_bytes(&file_with(&header)), Err(ModelError::Damaged { .. })), "{header}");
    }
    let huge = [&u64::MAX.to_le_bytes()[..], &[b'{'; 20]].concat();
    assert!(read_bytes(&huge).is_err());
}

#[test]
fn tensors_of_another_type_are_refused() {
    let text = String::from_utf8_lossy(&to_bytes(&card(), &BTreeMap::new()).unwrap()[8..]).trim_end().to_owned();
    let header = text.replacen('{', r#"{"w":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},"#, 1);
    let error = read_bytes(&file_with(&header)).unwrap_err().to_string();
    assert!(error.ends_with("tensor `w` is not made of 32-bit floats"), "{error}");
}

#[test]
fn a_changed_byte_of_the_header_gives_an_error_or_a_model_but_never_a_crash() {
    let bytes = to_bytes(&card(), &tensors()).unwrap();
    for at in 0..bytes.len() - 80 {
        let mut changed = bytes.clone();
        changed[at] ^= 0x15;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, &changed).unwrap();
        if let Ok((card, _)) = read(&path, changed.len() as u64) {
            assert_eq!(card.version, CARD_VERSION);
        }
    }
}
