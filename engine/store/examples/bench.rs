use mlp_model::*;
use mlp_store::*;
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc::channel};
use std::time::{Duration, Instant};
fn rec(n: u64) -> Record {
    let d = |n: u64| Digest::of(&n.to_le_bytes());
    Record::StepFinished {
        run: RunId("0123456789ab".into()),
        step: StepId { pipeline: "churn".into(), step: format!("s{n}") },
        result: StepResult {
            key: KeyId(d(n)),
            key_object: d(n + 1),
            op: "sh".into(),
            attempt: 1,
            inputs: vec![InputRecord { name: "in".into(), digest: d(n + 2), shown: "data/x.csv".into() }],
            outputs: vec![OutputRecord {
                name: "out".into(),
                digest: d(n + 3),
                kind: ArtifactKind::File,
                size_bytes: 5,
            }],
            facts: BTreeMap::new(),
            environment: BTreeMap::from([("mlp".into(), "0.1.0".into())]),
            seconds: 0.1,
            at: Timestamp(1795431978884),
        },
    }
}
fn cpu() -> f64 {
    let t = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = t.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn main() {
    let n: u64 = std::env::args().nth(1).map_or(10_000, |a| a.parse().unwrap());
    let dir = std::env::args()
        .nth(2)
        .map_or_else(|| std::env::temp_dir().join(format!("mlpb{}", std::process::id())), Into::into);
    std::fs::create_dir_all(&dir).unwrap();
    let connect = || {
        let d = dir.clone();
        let own = move || {
            let d = d.clone();
            std::thread::spawn(move || {
                let r = serve_owner(&d, Duration::ZERO, Arc::new(SystemClock));
                if r.is_err() {
                    println!("{r:?}")
                }
            });
            Ok(())
        };
        Client::connect(&dir, Box::new(own), Arc::new(SystemClock)).unwrap()
    };
    let t = Instant::now();
    let c = connect();
    println!("connect {:?} records {}", t.elapsed(), c.stats().unwrap().n_records);
    let (s, r) = channel();
    let t = Instant::now();
    for i in 0..200 {
        let s = s.clone();
        c.commit(vec![rec(i)], None, Box::new(move |x| s.send(x).unwrap()));
        r.recv().unwrap().unwrap();
    }
    println!("serial commit {:?}", t.elapsed() / 200);
    let (t, u) = (Instant::now(), cpu());
    for i in 0..n {
        let s = s.clone();
        c.put(format!("key object {i}").as_bytes(), Sensitivity::Plain).unwrap();
        c.commit(vec![rec(i)], None, Box::new(move |x| s.send(x).unwrap()));
    }
    for _ in 0..n {
        r.recv().unwrap().unwrap();
    }
    println!(
        "{n} commits: {:?} each, cpu {:.1} us each (client and owner)",
        t.elapsed() / n as u32,
        (cpu() - u) * 1e6 / n as f64
    );
    let t = Instant::now();
    for i in 0..2000 {
        c.result(&KeyId(Digest::of(&(i as u64).to_le_bytes()))).unwrap().unwrap();
    }
    println!("result {:?}", t.elapsed() / 2000);
    println!("{:?}", c.stats().unwrap());
    let t = Instant::now();
    drop(c);
    std::thread::sleep(Duration::from_millis(20));
    while std::fs::metadata(dir.join(".mlp/index.v1.seal")).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("close {:?}", t.elapsed());
    let t = Instant::now();
    let c = connect();
    println!("reopen sealed {:?}", t.elapsed());
    drop(c);
    std::thread::sleep(Duration::from_millis(50));
    while std::fs::metadata(dir.join(".mlp/index.v1.seal")).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    std::fs::remove_file(dir.join(".mlp/index.v1.seal")).unwrap();
    let t = Instant::now();
    let c = connect();
    println!("reopen unsealed {:?}", t.elapsed());
    drop(c);
    std::thread::sleep(Duration::from_millis(50));
    while std::fs::metadata(dir.join(".mlp/index.v1.seal")).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    std::fs::remove_dir_all(dir.join(".mlp/index.v1.sled")).unwrap();
    let t = Instant::now();
    let c = connect();
    println!("rebuild {:?}", t.elapsed());
    println!("{:?}", c.stats().unwrap());
    drop(c);
    std::fs::remove_dir_all(&dir).ok();
}
