//! The order within each row of the picture: few arrows cross.

use super::layers::Layers;

/// How often the rows are gone through, at most.
const N_SWEEPS: usize = 24;
/// Sweeps without a gain after which it is good enough.
const MOST_IN_VAIN: usize = 6;

/// Orders the slots of each row by where those are that they are linked with, again and again, and keeps the best order.
pub fn order(layers: &mut Layers) {
    let n_slots = layers.row_of.len();
    let (mut up, mut down) = (vec![Vec::new(); n_slots], vec![Vec::new(); n_slots]);
    for (a, b) in &layers.links {
        down[*a].push(*b);
        up[*b].push(*a);
    }
    let mut place = vec![0; n_slots];
    let mut rows = layers.rows.clone();
    rows.iter().for_each(|row| remember(row, &mut place));
    let mut least = crossings(&rows, &down, &place);
    let mut in_vain = 0;
    for sweep in 0..N_SWEEPS {
        if least == 0 || in_vain >= MOST_IN_VAIN {
            break;
        }
        if sweep % 2 == 0 {
            rows.iter_mut().for_each(|row| sort(row, &up, &mut place));
        } else {
            rows.iter_mut().rev().for_each(|row| sort(row, &down, &mut place));
        }
        let n = crossings(&rows, &down, &place);
        if n < least {
            (least, in_vain) = (n, 0);
            layers.rows.clone_from(&rows);
        } else {
            in_vain += 1;
        }
    }
}

fn remember(row: &[usize], place: &mut [usize]) {
    row.iter().enumerate().for_each(|(at, slot)| place[*slot] = at);
}

fn sort(row: &mut [usize], linked: &[Vec<usize>], place: &mut [usize]) {
    let middle = |slot: usize| {
        let linked = &linked[slot];
        if linked.is_empty() {
            return place[slot] as f64;
        }
        linked.iter().map(|other| place[*other] as f64).sum::<f64>() / linked.len() as f64
    };
    let mut wanted: Vec<(f64, usize)> = row.iter().map(|slot| (middle(*slot), *slot)).collect();
    // Stable: equals stay in the order of the sweep before, and the picture is the same every time.
    wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
    row.iter_mut().zip(wanted).for_each(|(slot, (_, wanted))| *slot = wanted);
    remember(row, place);
}

/// Counts how often links cross, with a tree of partial sums for each pair of rows.
fn crossings(rows: &[Vec<usize>], down: &[Vec<usize>], place: &[usize]) -> u64 {
    let mut n = 0;
    for (row, below) in rows.iter().zip(rows.iter().skip(1)) {
        let mut sums = vec![0_u64; below.len() + 1];
        let mut n_seen = 0;
        for slot in row {
            let mut ends: Vec<usize> = down[*slot].iter().map(|end| place[*end]).collect();
            ends.sort_unstable();
            for end in &ends {
                // Those seen before that end further to the right.
                let (mut at, mut n_left) = (end + 1, 0);
                while at > 0 {
                    n_left += sums[at];
                    at &= at - 1;
                }
                n += n_seen - n_left;
            }
            for end in ends {
                let mut at = end + 1;
                while at < sums.len() {
                    sums[at] += 1;
                    at += at & at.wrapping_neg();
                }
                n_seen += 1;
            }
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::super::layers::cut;
    use super::*;

    fn crossings_of(layers: &Layers) -> u64 {
        let (mut down, mut place) = (vec![Vec::new(); layers.row_of.len()], vec![0; layers.row_of.len()]);
        layers.links.iter().for_each(|(a, b)| down[*a].push(*b));
        layers.rows.iter().for_each(|row| remember(row, &mut place));
        crossings(&layers.rows, &down, &place)
    }

    #[test]
    fn crossings_are_counted() {
        // Two parents whose two children stand the wrong way round, and a complete pair of rows.
        assert_eq!(crossings_of(&cut(4, &[(0, 3, 0), (1, 2, 0)], 9).unwrap()), 1);
        let complete: Vec<_> = (0..3).flat_map(|a| (3..6).map(move |b| (a, b, 0))).collect();
        assert_eq!(crossings_of(&cut(6, &complete, 9).unwrap()), 9);
    }

    #[test]
    fn a_tree_that_can_be_drawn_without_crossings_is() {
        let mut layers =
            cut(9, &[(0, 1, 0), (0, 2, 0), (0, 3, 0), (3, 4, 0), (2, 5, 0), (1, 6, 0), (6, 8, 0), (4, 7, 0)], 99)
                .unwrap();
        assert!(crossings_of(&layers) > 0);
        order(&mut layers);
        assert_eq!(crossings_of(&layers), 0);
    }
}
