//! Who is granted what: directed cases, and random runs in which nothing is ever promised twice.

use std::collections::BTreeMap;

use mlp_model::{Demand, Gpu, GpuDemand, Machine, Portion};
use proptest::prelude::*;

use super::queue::MAX_PASSED;
use super::*;

const GIB: u64 = 1 << 30;

fn machine() -> Machine {
    let gpu = |uuid: &str, gib| Gpu { uuid: uuid.into(), name: "card".into(), mem_bytes: gib * GIB };
    Machine {
        cores: Some(4),
        mem_bytes: Some(16 * GIB),
        tokens: BTreeMap::from([("disk".into(), 1), ("licence".into(), 2)]),
        gpus: vec![gpu("GPU-a", 8), gpu("GPU-b", 16)],
        without_gpus: None,
    }
}

fn cpu(n: u32) -> Demand {
    Demand { cpu: Some(n), ..Demand::default() }
}

fn token(name: &str, n: u32) -> Demand {
    Demand { tokens: BTreeMap::from([(name.to_owned(), n)]), ..Demand::default() }
}

fn gpu(gpu: GpuDemand) -> Demand {
    Demand { gpu: Some(gpu), ..Demand::default() }
}

fn gpu_mem(gib: u64) -> Demand {
    Demand { gpu_mem_bytes: gib * GIB, ..Demand::default() }
}

/// Independent steps with these demands and priorities, all of them ready.
fn ready(jobs: usize, demands: &[(Demand, u64)]) -> Scheduler {
    let pool = Pool::new(jobs, &machine());
    let step = |(demand, priority): &(Demand, u64)| Step {
        kind: StepKind::Call { retries: 0 },
        inputs: vec![],
        collects: vec![],
        awaits: vec![],
        twin: None,
        priority: *priority,
        need: Some(pool.need(demand, &Demand::default()).unwrap()),
    };
    let mut scheduler = Scheduler::new(demands.iter().map(step).collect(), pool.clone(), Tolerance::default(), true);
    scheduler.on_started();
    // Nobody starts before everybody is ready: the cores are taken meanwhile.
    let all = std::mem::replace(&mut scheduler.pool, Pool::new(1, &Machine::default()));
    let blocker = scheduler.pool.need(&Demand::default(), &Demand::default()).unwrap();
    let blocked = scheduler.pool.take(&blocker).unwrap();
    (0..demands.len()).for_each(|step| scheduler.on_key_resolved(step, Lookup::Miss));
    drop(blocked);
    scheduler.pool = all;
    scheduler.settle();
    scheduler
}

/// The steps that hold something, in order.
fn holding(scheduler: &Scheduler) -> Vec<usize> {
    (0..scheduler.steps.len()).filter(|&step| scheduler.grants[step].is_some()).collect()
}

fn finish(scheduler: &mut Scheduler, step: usize) {
    scheduler.on_claimed(step, &[]);
    scheduler.on_written(step);
    scheduler.on_committed(step);
}

#[test]
fn cores_memory_and_tokens_are_shared_out() {
    let scheduler = ready(4, &[(cpu(3), 0), (cpu(2), 0), (cpu(1), 0)]);
    assert_eq!(holding(&scheduler), [0, 2]);
    let mem = |gib| Demand { mem_bytes: gib * GIB, ..Demand::default() };
    assert_eq!(holding(&ready(4, &[(mem(10), 0), (mem(7), 0), (mem(6), 0)])), [0, 2]);
    let licence = || (token("licence", 1), 0);
    assert_eq!(holding(&ready(4, &[licence(), licence(), licence(), (cpu(1), 0)])), [0, 1, 3]);
}

#[test]
fn whole_gpus_are_given_to_one_step_and_shares_are_packed() {
    let whole = |n| (gpu(GpuDemand::Count(n)), 0);
    let share = |share| (gpu(GpuDemand::Share(share)), 0);
    let mut scheduler = ready(8, &[share(500), whole(1), share(500), share(1)]);
    // Both halves on the first device, so that the other one stays whole; nothing is left for the last.
    assert_eq!(holding(&scheduler), [0, 1, 2]);
    assert_eq!((scheduler.gpus(0), scheduler.gpus(2)), (vec!["GPU-a".to_owned()], vec!["GPU-a".to_owned()]));
    assert_eq!(scheduler.gpus(1), ["GPU-b"]);
    finish(&mut scheduler, 1);
    assert_eq!((holding(&scheduler), scheduler.gpus(3)), (vec![0, 2, 3], vec!["GPU-b".to_owned()]));
    assert!(scheduler.gpus(1).is_empty());

    let named = |uuid: &str| (gpu(GpuDemand::Device(uuid.into())), 0);
    let scheduler = ready(8, &[named("GPU-b"), named("gpu-B"), whole(1)]);
    assert_eq!((holding(&scheduler), scheduler.gpus(2)), (vec![0, 2], vec!["GPU-a".to_owned()]));
}

#[test]
fn gpu_memory_is_never_promised_twice() {
    // 8 and 16 GiB: 7 on the small one, 10 and 6 on the large one; then nothing is left for 2.
    let scheduler = ready(8, &[(gpu_mem(7), 0), (gpu_mem(10), 0), (gpu_mem(6), 0), (gpu_mem(2), 0)]);
    assert_eq!(holding(&scheduler), [0, 1, 2]);
    assert_eq!(scheduler.gpus(2), ["GPU-b"]);
    // A whole device with much memory leaves the small one to others.
    let large = Demand { gpu_mem_bytes: 12 * GIB, ..gpu(GpuDemand::Count(1)) };
    let scheduler = ready(8, &[(large, 0), (gpu(GpuDemand::Count(1)), 0)]);
    assert_eq!((scheduler.gpus(0), scheduler.gpus(1)), (vec!["GPU-b".to_owned()], vec!["GPU-a".to_owned()]));
}

#[test]
fn a_step_tells_what_it_takes_of_what_runs_share() {
    let names = |scheduler: &Scheduler, step| -> Vec<String> {
        let show = |portion: &Portion| format!("{} {}/{}", portion.name, portion.amount, portion.there_is);
        scheduler.takes(step).iter().map(|take| take.of.iter().map(show).collect::<Vec<_>>().join(" or ")).collect()
    };
    let both = Demand { mem_bytes: GIB, ..token("licence", 1) };
    let shared = Demand { gpu_mem_bytes: 4 * GIB, ..Demand::default() };
    let scheduler = ready(2, &[(both, 0), (shared, 0)]);
    // The machine has more cores than this run may use.
    assert_eq!(names(&scheduler, 0), ["cpu 1/4", &format!("mem {GIB}/{}", 16 * GIB), "token licence 1/2"]);
    assert_eq!(names(&scheduler, 1), ["cpu 1/4", "gpu GPU-a 500/1000 or gpu GPU-b 250/1000"]);
    let scheduler = ready(8, &[(gpu(GpuDemand::Count(2)), 0)]);
    assert_eq!(names(&scheduler, 0)[1], "gpu GPU-a 1000/1000 or gpu GPU-b 1000/1000");
    assert_eq!(scheduler.takes(0)[1].n, 2);
}

#[test]
fn a_step_gets_the_gpu_that_is_free_of_other_runs() {
    let share = || (gpu(GpuDemand::Share(500)), 0);
    let mut scheduler = ready(8, &[share(), share(), (gpu(GpuDemand::Count(1)), 0), share()]);
    assert_eq!((holding(&scheduler), scheduler.gpus(2)), (vec![0, 1, 2], vec!["GPU-b".to_owned()]));
    let on = |uuid: &str, amount| vec![Portion { name: Portion::name_of_gpu(uuid), amount, there_is: 1000 }];
    // Another run has the half of the first device: one of ours goes to the other one, which is promised twice for a moment.
    scheduler.on_claimed(0, &on("GPU-b", 500));
    assert_eq!((scheduler.gpus(0), scheduler.gpus(1)), (vec!["GPU-b".to_owned()], vec!["GPU-a".to_owned()]));
    // What is free here now is not free for the last one, which asks all the same and waits.
    assert_eq!(holding(&scheduler), [0, 1, 2, 3]);
    scheduler.on_claim_delayed(2);
    scheduler.on_written(0);
    scheduler.on_claimed(2, &on("GPU-b", 1000));
    assert_eq!((scheduler.gpus(2), scheduler.gpus(3)), (vec!["GPU-b".to_owned()], vec!["GPU-a".to_owned()]));
    for step in [1, 3] {
        scheduler.on_claimed(step, &on("GPU-a", 500));
        scheduler.on_written(step);
    }
    scheduler.on_written(2);
    assert!(scheduler.pool.is_all_free());
}

#[test]
fn what_is_granted_after_a_while_does_not_wait_for_those_that_only_ask() {
    let mut scheduler = ready(1, &[(cpu(1), 3), (cpu(1), 2), (cpu(1), 1)]);
    scheduler.on_claim_delayed(0);
    assert_eq!(holding(&scheduler), [1]);
    scheduler.on_claimed(0, &[]);
    assert_eq!((holding(&scheduler), scheduler.state(0)), (vec![0], State::Running));
    assert_eq!(scheduler.state(1), State::Awaiting);
    // Nor does it wait for a step that was more urgent from the beginning.
    scheduler.on_claimed(1, &[]);
    assert_eq!((scheduler.state(1), scheduler.state(2)), (State::Granted, State::Ready));
    scheduler.on_written(0);
    assert_eq!((holding(&scheduler), scheduler.state(1)), (vec![1], State::Running));
}

#[test]
fn only_so_many_steps_wait_for_other_runs() {
    let steps: Vec<_> = (0..100).map(|_| (cpu(1), 0)).collect();
    let mut scheduler = ready(1, &steps);
    let awaiting = |scheduler: &Scheduler| (0..100).filter(|&step| scheduler.state(step) == State::Awaiting).count();
    while let [step] = holding(&scheduler)[..] {
        scheduler.on_claim_delayed(step);
    }
    assert_eq!((awaiting(&scheduler), holding(&scheduler)), (MAX_AWAITING, vec![]));
    finish(&mut scheduler, 0);
    assert_eq!((awaiting(&scheduler), holding(&scheduler)), (MAX_AWAITING - 1, vec![MAX_AWAITING]));
}

#[test]
fn a_step_without_a_gpu_sees_none() {
    let scheduler = ready(8, &[(cpu(1), 0)]);
    assert_eq!(scheduler.gpus(0), Vec::<String>::new());
}

#[test]
fn a_demand_that_can_never_be_met_names_what_there_is() {
    let pool = Pool::new(2, &machine());
    let said = |demand: &Demand| -> Vec<(&'static str, String)> {
        let shortages = pool.need(demand, &Demand::default()).unwrap_err();
        shortages.into_iter().map(|shortage| (shortage.option, shortage.message)).collect()
    };
    let cases = [
        (cpu(3), "cpu", "needs 3 cores, this run may use 2"),
        (Demand { mem_bytes: 20 * GIB, ..Demand::default() }, "mem", "needs 20 GiB of memory, this run may use 16 GiB"),
        (token("licence", 3), "tokens", "needs 3 of token `licence`, mlp.yaml gives 2"),
        (token("license", 1), "tokens", "needs 1 of token `license`, which mlp.yaml does not name"),
        (gpu(GpuDemand::Count(3)), "gpu", "needs 3 GPUs, this run may use 2"),
        (gpu(GpuDemand::Device("GPU-z".into())), "gpu", "needs GPU `GPU-z`, which this run may not use or is not here"),
        (gpu_mem(20), "gpu_mem", "needs a GPU with 20 GiB, the largest here has 16 GiB"),
        (
            Demand { gpu_mem_bytes: 12 * GIB, ..gpu(GpuDemand::Count(2)) },
            "gpu_mem",
            "needs 2 GPUs with 12 GiB, there is 1",
        ),
        (
            Demand { gpu_mem_bytes: 12 * GIB, ..gpu(GpuDemand::Device("GPU-a".into())) },
            "gpu_mem",
            "needs 12 GiB on GPU `GPU-a`, which has 8 GiB",
        ),
    ];
    for (demand, option, message) in cases {
        assert_eq!(said(&demand), [(option, message.to_owned())]);
    }
    // All at once.
    assert_eq!(said(&Demand { gpu: Some(GpuDemand::Count(3)), ..cpu(9) }).len(), 2);
    let bare = Pool::new(2, &Machine { without_gpus: Some("no NVIDIA driver".into()), ..Machine::default() });
    let shortage = bare.need(&gpu_mem(1), &Demand::default()).unwrap_err();
    assert_eq!(shortage[0].message, "needs a GPU, and none was found (no NVIDIA driver)");
}

#[test]
fn what_a_runner_implies_is_capped_by_what_there_is() {
    let implied = Demand { gpu: Some(GpuDemand::Count(1)), ..cpu(8) };
    let small = Pool::new(2, &Machine::default());
    assert_eq!(small.need(&Demand::default(), &implied), small.need(&cpu(2), &Demand::default()));
    let large = Pool::new(16, &machine());
    let declared = Demand { gpu: Some(GpuDemand::Count(1)), ..cpu(8) };
    assert_eq!(large.need(&Demand::default(), &implied), large.need(&declared, &Demand::default()));
}

#[test]
fn a_big_step_is_passed_over_a_while_and_then_has_its_turn() {
    // One core is busy for long; small steps keep the other one from being free together with it.
    let mut demands = vec![(cpu(1), 99), (cpu(1), 98), (cpu(2), 50)];
    demands.extend((0..100).map(|_| (cpu(1), 1)));
    let mut scheduler = ready(2, &demands);
    assert_eq!(holding(&scheduler), [0, 1]);
    let mut n_passed = 0;
    let mut small = 1;
    loop {
        finish(&mut scheduler, small);
        let Some(&next) = holding(&scheduler).iter().find(|&&step| step > 2) else { break };
        small = next;
        n_passed += 1;
    }
    assert_eq!((n_passed, holding(&scheduler)), (MAX_PASSED, vec![0]));
    finish(&mut scheduler, 0);
    assert_eq!(holding(&scheduler), [2]);
    finish(&mut scheduler, 2);
    assert_eq!(holding(&scheduler).len(), 2);
}

#[test]
fn what_a_waiting_step_does_not_need_is_not_kept_from_others() {
    // It waits for the disk token, which a long step has; cores beyond its own go on being used.
    let mut demands = vec![(token("disk", 1), 99), (token("disk", 1), 50)];
    demands.extend((0..60).map(|_| (cpu(1), 1)));
    let mut scheduler = ready(3, &demands);
    for _ in 0..50 {
        let small = *holding(&scheduler).iter().find(|&&step| step > 1).expect("small steps go on");
        finish(&mut scheduler, small);
        assert!(!holding(&scheduler).contains(&1));
    }
    finish(&mut scheduler, 0);
    assert!(holding(&scheduler).contains(&1));
}

fn random_demand() -> impl Strategy<Value = Demand> {
    let gpu = prop_oneof![
        6 => Just(None),
        1 => (1..=2u32).prop_map(|n| Some(GpuDemand::Count(n))),
        1 => (1..1000u32).prop_map(|share| Some(GpuDemand::Share(share))),
        1 => prop_oneof![Just("GPU-a"), Just("GPU-b")].prop_map(|uuid| Some(GpuDemand::Device(uuid.to_owned()))),
    ];
    (1..=4u32, 0..=16u64, 0..=2u32, 0..=1u32, gpu, prop_oneof![4 => Just(0), 1 => 1..=8u64]).prop_map(
        |(cpu, mem, licence, disk, gpu, gpu_mem)| Demand {
            cpu: Some(cpu),
            mem_bytes: mem * GIB,
            tokens: [("licence", licence), ("disk", disk)]
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| (name.to_owned(), n))
                .collect(),
            gpu,
            gpu_mem_bytes: gpu_mem * GIB,
        },
    )
}

/// A step's demand, priority, retries and earlier steps as inputs.
type Node = (Demand, u64, u32, Vec<prop::sample::Index>);

fn random_nodes(demand: impl Strategy<Value = Demand>) -> impl Strategy<Value = Vec<Node>> {
    let node = (demand, 0..20u64, 0..3u32, proptest::collection::vec(any::<prop::sample::Index>(), 0..3));
    proptest::collection::vec(node, 1..40)
}

/// What is held, counted from the demands and not from the pool's own books.
fn check_sums(scheduler: &Scheduler, nodes: &[Node], jobs: u64) -> Result<(), TestCaseError> {
    let machine = machine();
    let held: Vec<usize> =
        (0..nodes.len()).filter(|&step| matches!(scheduler.state(step), State::Claiming | State::Running)).collect();
    let sum = |amount: &dyn Fn(&Demand) -> u64| -> u64 { held.iter().map(|&step| amount(&nodes[step].0)).sum() };
    prop_assert!(sum(&|demand| u64::from(demand.cpu.unwrap_or(1))) <= jobs);
    prop_assert!(sum(&|demand| demand.mem_bytes) <= 16 * GIB);
    for (token, n) in &machine.tokens {
        prop_assert!(sum(&|demand| demand.tokens.get(token).copied().unwrap_or(0).into()) <= u64::from(*n));
    }
    for gpu in &machine.gpus {
        let users: Vec<&Demand> =
            held.iter().filter(|&&step| scheduler.gpus(step).contains(&gpu.uuid)).map(|&step| &nodes[step].0).collect();
        let is_whole = |demand: &&&Demand| matches!(demand.gpu, Some(GpuDemand::Count(_) | GpuDemand::Device(_)));
        prop_assert!(users.len() <= 1 || users.iter().find(is_whole).is_none(), "{users:?} share {gpu:?}");
        let mem: u64 = users.iter().map(|demand| demand.gpu_mem_bytes).sum();
        prop_assert!(mem <= gpu.mem_bytes, "{users:?} have too much of {gpu:?}");
        let share = |demand: &&Demand| match demand.gpu {
            Some(GpuDemand::Share(share)) => share,
            _ => 0,
        };
        prop_assert!(users.iter().map(share).sum::<u32>() <= 1000);
    }
    for &step in &held {
        let n_gpus = match &nodes[step].0.gpu {
            None => usize::from(nodes[step].0.gpu_mem_bytes > 0),
            Some(GpuDemand::Count(n)) => *n as usize,
            Some(GpuDemand::Share(_) | GpuDemand::Device(_)) => 1,
        };
        prop_assert_eq!(scheduler.gpus(step).len(), n_gpus);
    }
    Ok(())
}

/// Runs the nodes to the end. `watch` hears of each step that takes up its work, with the steps that are ready then.
fn run_through(
    nodes: &[Node],
    jobs: usize,
    dice: &[(prop::sample::Index, u8)],
    mut watch: impl FnMut(usize, &[usize]) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let pool = Pool::new(jobs, &machine());
    let steps: Vec<Step> = nodes
        .iter()
        .enumerate()
        .map(|(idx, (demand, priority, retries, inputs))| {
            let mut inputs: Vec<usize> =
                if idx == 0 { vec![] } else { inputs.iter().map(|input| input.index(idx)).collect() };
            inputs.sort_unstable();
            inputs.dedup();
            let need = Some(pool.need(demand, &Demand::default()).expect("it can be met"));
            Step {
                kind: StepKind::Call { retries: *retries },
                inputs,
                collects: vec![],
                awaits: vec![],
                twin: None,
                priority: *priority,
                need,
            }
        })
        .collect();
    let mut scheduler = Scheduler::new(steps, pool, Tolerance::default(), true);
    scheduler.on_started();
    let (mut pending, mut dice) = (Vec::new(), dice.iter().cycle());
    let mut before: Vec<State> = vec![State::Waiting; nodes.len()];
    for _ in 0..20_000 {
        check_sums(&scheduler, nodes, jobs as u64)?;
        let is_ready = |state: State| matches!(state, State::Ready | State::Granted);
        let waiting: Vec<usize> = (0..nodes.len()).filter(|&step| is_ready(scheduler.state(step))).collect();
        for step in 0..nodes.len() {
            let was_idle = !matches!(before[step], State::Claiming | State::Running);
            if was_idle && matches!(scheduler.state(step), State::Claiming | State::Running) {
                watch(step, &waiting)?;
            }
            before[step] = scheduler.state(step);
        }
        while let Some(command) = scheduler.next_command() {
            pending.push(command);
        }
        if pending.is_empty() {
            break;
        }
        let (pick, luck) = dice.next().expect("it never ends");
        match pending.swap_remove(pick.index(pending.len())) {
            Command::ResolveKey { step } => scheduler.on_key_resolved(step, Lookup::Miss),
            Command::Claim { step } if *luck < 2 => {
                scheduler.on_claim_delayed(step);
                pending.push(Command::Claim { step });
            }
            Command::Claim { step } => scheduler.on_claimed(step, &[]),
            Command::StartStep { step, .. } if *luck < 3 => _ = scheduler.on_failed(step, ErrorClass::Step),
            Command::StartStep { step, .. } => {
                scheduler.on_written(step);
                scheduler.on_committed(step);
            }
            Command::Pause { step } => scheduler.on_paused(step),
            Command::Skip { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    prop_assert!(scheduler.is_done(), "it came to a standstill: {:?}", scheduler.states);
    prop_assert_eq!(scheduler.pool.is_all_free(), true);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// At no moment is more given out than there is, and every run comes to its end with everything given back.
    #[test]
    fn nothing_is_promised_twice_and_every_run_ends(
        nodes in random_nodes(random_demand()),
        jobs in 4..8usize,
        dice in proptest::collection::vec((any::<prop::sample::Index>(), 0..10u8), 200),
    ) {
        run_through(&nodes, jobs, &dice, |_, _| Ok(()))?;
    }

    /// Where all compete for one thing, nobody is passed over by lower priorities more often than is allowed.
    #[test]
    fn nobody_is_passed_over_for_ever(
        nodes in random_nodes((1..=4u32).prop_map(cpu)),
        dice in proptest::collection::vec((any::<prop::sample::Index>(), 2..3u8), 200),
    ) {
        let mut n_passed = vec![0; nodes.len()];
        run_through(&nodes, 4, &dice, |started, waiting| {
            // Steps of one need stand in one line: it moved on.
            (0..nodes.len()).filter(|&step| nodes[step].0 == nodes[started].0).for_each(|step| n_passed[step] = 0);
            for &step in waiting.iter().filter(|&&step| nodes[step].1 > nodes[started].1) {
                n_passed[step] += 1;
                // Other lines may have come to their turn before.
                prop_assert!(n_passed[step] <= MAX_PASSED + 3, "step {} was passed over {} times", step, n_passed[step]);
            }
            Ok(())
        })?;
    }
}
