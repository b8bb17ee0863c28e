//! Who may take what: directed cases, and random clients among whom nothing is ever promised twice and nobody waits for ever.

use proptest::prelude::*;

use super::*;

fn ticket(client: &str, no: u64) -> Ticket {
    Ticket { client: ClientId(client.into()), no }
}

fn cores(amount: u64) -> Vec<Take> {
    vec![Take::of("cpu", amount, 4)]
}

fn licence() -> Vec<Take> {
    vec![Take::of("cpu", 1, 4), Take::of("token licence", 1, 1)]
}

/// One of two GPUs, this one first.
fn gpu(best: &str, other: &str, amount: u64) -> Vec<Take> {
    let portion = |name: &str| Portion { name: name.into(), amount, there_is: 1000 };
    vec![Take { n: 1, of: vec![portion(best), portion(other)] }]
}

/// Whether the ticket begins at once.
fn begins(shares: &mut Shares, client: &str, no: u64, takes: Vec<Take>) -> bool {
    !shares.ask(ticket(client, no), takes).is_empty()
}

fn tickets(granted: &[Granted]) -> Vec<(&str, u64)> {
    granted.iter().map(|(ticket, _)| (ticket.client.0.as_str(), ticket.no)).collect()
}

#[test]
fn who_comes_later_waits_for_room_and_then_both_keep_to_what_there_is() {
    let mut shares = Shares::default();
    // Its user said `--jobs 6` on a machine with four cores.
    let six = |amount| vec![Take::of("cpu", amount, 6)];
    (1..=6).for_each(|no| assert!(begins(&mut shares, "a", no, six(1))));
    assert!(!begins(&mut shares, "a", 8, six(1)));
    shares.end(&ticket("a", 8));
    assert!(!begins(&mut shares, "b", 1, cores(1)));
    assert!(!begins(&mut shares, "a", 7, cores(1)));
    assert!(shares.end(&ticket("a", 1)).is_empty() && shares.end(&ticket("a", 2)).is_empty());
    assert_eq!(tickets(&shares.end(&ticket("a", 3))), [("b", 1)]);
    assert_eq!(tickets(&shares.end(&ticket("a", 4))), [("a", 7)]);
}

#[test]
fn the_client_that_has_least_comes_first_then_the_one_whose_turn_was_longest_ago() {
    let mut shares = Shares::default();
    (1..=4).for_each(|no| assert!(begins(&mut shares, "a", no, cores(1))));
    (5..=6).for_each(|no| assert!(!begins(&mut shares, "a", no, cores(1))));
    (1..=3).for_each(|no| assert!(!begins(&mut shares, "b", no, cores(1))));
    assert_eq!(tickets(&shares.end(&ticket("a", 1))), [("b", 1)]);
    assert_eq!(tickets(&shares.end(&ticket("a", 2))), [("b", 2)]);
    assert_eq!(tickets(&shares.end(&ticket("a", 3))), [("a", 5)]);
    assert_eq!(tickets(&shares.end(&ticket("b", 1))), [("b", 3)]);
}

#[test]
fn those_who_have_the_same_take_turns_whoever_asked_first() {
    let mut shares = Shares::default();
    assert!(begins(&mut shares, "a", 1, cores(4)));
    (1..=3).for_each(|no| assert!(!begins(&mut shares, "b", no, cores(4))));
    (2..=3).for_each(|no| assert!(!begins(&mut shares, "a", no, cores(4))));
    let mut turn = ("a".to_owned(), 1);
    let mut turns = Vec::new();
    while let [(ticket, _)] = &shares.end(&ticket(&turn.0, turn.1))[..] {
        turn = (ticket.client.0.clone(), ticket.no);
        turns.push(turn.clone());
    }
    let turns: Vec<_> = turns.iter().map(|(client, no)| (client.as_str(), *no)).collect();
    assert_eq!(turns, [("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]);
}

#[test]
fn many_claims_of_one_client_do_not_take_more_than_there_is_before_another_comes() {
    let mut shares = Shares::default();
    (1..=3).for_each(|no| assert_eq!(begins(&mut shares, "a", no, licence()), no == 1));
    assert_eq!(tickets(&shares.end(&ticket("a", 1))), [("a", 2)]);
    assert!(!begins(&mut shares, "b", 1, licence()));
    assert_eq!(tickets(&shares.end(&ticket("a", 2))), [("b", 1)]);
}

#[test]
fn what_the_first_in_turn_lacks_is_kept_for_it_and_others_pass() {
    let mut shares = Shares::default();
    (1..=3).for_each(|no| assert!(begins(&mut shares, "a", no, cores(1))));
    assert!(!begins(&mut shares, "b", 1, cores(4)));
    // A core is free, and is not given away: else `b` would wait as long as `a` has work.
    assert!(!begins(&mut shares, "a", 4, cores(1)));
    assert!(begins(&mut shares, "a", 5, vec![Take::of("mem", 9, 9)]));
    assert!(shares.end(&ticket("a", 1)).is_empty() && shares.end(&ticket("a", 2)).is_empty());
    assert_eq!(tickets(&shares.end(&ticket("a", 3))), [("b", 1)]);
    assert_eq!(tickets(&shares.end(&ticket("b", 1))), [("a", 4)]);
}

#[test]
fn a_token_is_for_one_at_a_time_whoever_wants_it() {
    let mut shares = Shares::default();
    assert!(begins(&mut shares, "a", 1, licence()));
    assert!(!begins(&mut shares, "b", 1, licence()));
    assert!(begins(&mut shares, "b", 2, cores(1)));
    assert_eq!(tickets(&shares.end(&ticket("a", 1))), [("b", 1)]);
    // Who waits and leaves is forgotten.
    assert!(!begins(&mut shares, "c", 1, licence()));
    assert!(shares.end(&ticket("c", 1)).is_empty() && shares.end(&ticket("b", 1)).is_empty());
    assert!(shares.end(&ticket("b", 2)).is_empty() && shares.used.is_empty() && shares.held.is_empty());
}

#[test]
fn another_gpu_is_given_where_the_best_is_taken() {
    let mut shares = Shares::default();
    let device = |granted: Vec<Granted>| granted[0].1[0].name.clone();
    assert_eq!(device(shares.ask(ticket("a", 1), gpu("gpu x", "gpu y", 1000))), "gpu x");
    assert_eq!(device(shares.ask(ticket("b", 1), gpu("gpu x", "gpu y", 500))), "gpu y");
    assert_eq!(device(shares.ask(ticket("c", 1), gpu("gpu x", "gpu y", 500))), "gpu y");
    assert!(!begins(&mut shares, "c", 2, gpu("gpu y", "gpu x", 500)));
    assert_eq!(device(shares.end(&ticket("a", 1))), "gpu x");
}

#[test]
fn a_run_within_a_step_does_not_wait_for_what_the_step_has() {
    let mut shares = Shares::default();
    assert!(begins(&mut shares, "outer", 1, licence()));
    shares.on_within(ClientId("inner".into()), HashSet::from([ClientId("outer".into())]));
    assert!(begins(&mut shares, "inner", 1, licence()));
    assert!(!begins(&mut shares, "other", 1, licence()));
    assert!(shares.end(&ticket("inner", 1)).is_empty());
    shares.forget(&ClientId("inner".into()));
    assert_eq!(tickets(&shares.end(&ticket("outer", 1))), [("other", 1)]);
}

#[test]
fn what_a_ticket_waits_for_and_who_has_it_is_known() {
    let mut shares = Shares::default();
    let lack = |shares: &Shares, client: &str, no| {
        let (clients, lacks) = shares.lack(&ticket(client, no));
        (clients.into_iter().map(|client| client.0.clone()).collect::<Vec<_>>(), lacks)
    };
    assert!(begins(&mut shares, "a", 1, licence()));
    // What others have of something of which there is enough is nobody's business.
    assert!(begins(&mut shares, "c", 1, cores(1)));
    assert!(!begins(&mut shares, "b", 1, licence()));
    assert_eq!(lack(&shares, "b", 1), (vec!["a".into()], vec!["token licence".into()]));
    assert!(!begins(&mut shares, "c", 2, cores(4)));
    assert_eq!(lack(&shares, "c", 2), (vec!["a".into()], vec!["cpu".into()]));
    // Who has begun waits for nothing.
    assert_eq!(lack(&shares, "a", 1), (vec![], vec![]));
}

proptest! {
    /// Whatever clients ask and end: where several have of a thing, they have no more than there is; and when those that
    /// began end, everybody begins.
    #[test]
    fn nothing_is_promised_twice_and_nobody_waits_for_ever(
        asks in proptest::collection::vec((0..4usize, 1..5u64, 0..3u64, 0..3u8, any::<prop::sample::Index>()), 1..60),
    ) {
        let mut shares = Shares::default();
        let (mut begun, mut n_asked): (Vec<Ticket>, u64) = (Vec::new(), 0);
        let is_kept_to = |shares: &Shares, portions: &[Portion]| {
            portions.iter().all(|portion| {
                let used = &shares.used[&portion.name];
                used.by.values().sum::<u64>() <= portion.there_is.max(portion.amount)
            })
        };
        for (client, cores, licences, device, pick) in asks {
            n_asked += 1;
            let mut takes = self::cores(cores);
            takes.extend((licences > 0).then(|| Take::of("token licence", licences, 2)));
            takes.extend((device > 0).then(|| gpu("gpu x", "gpu y", u64::from(device) * 500)).into_iter().flatten());
            let asker = ticket(["a", "b", "c", "d"][client], n_asked);
            for (ticket, portions) in shares.ask(asker, takes) {
                prop_assert!(is_kept_to(&shares, &portions));
                begun.push(ticket);
            }
            if n_asked % 3 == 0 && !begun.is_empty() {
                let ended = begun.remove(pick.index(begun.len()));
                for (ticket, portions) in shares.end(&ended) {
                    prop_assert!(is_kept_to(&shares, &portions));
                    begun.push(ticket);
                }
            }
        }
        while let Some(ended) = begun.pop() {
            begun.extend(shares.end(&ended).into_iter().map(|(ticket, _)| ticket));
        }
        prop_assert!(shares.waiting.is_empty() && shares.held.is_empty() && shares.used.is_empty());
    }
}
