//! Where in its row each node stands: near what it is linked with, and nothing on top of anything.

use super::layers::Layers;

/// How often the rows are gone through.
const N_SWEEPS: usize = 16;
/// How often bends are put below each other: each time has more room than the one before.
const N_STRAIGHTENED: usize = 3;

/// Returns the middle of each slot, from 0 on. `widths` are those of the slots, `gap` is left free between two.
pub fn place(layers: &Layers, widths: &[f64], n_nodes: usize, gap: f64) -> Vec<f64> {
    let n_slots = layers.row_of.len();
    let (mut up, mut down) = (vec![Vec::new(); n_slots], vec![Vec::new(); n_slots]);
    for (a, b) in &layers.links {
        // Long arrows shall be straight, more than short ones.
        let weight = f64::from(1 + 3 * (u8::from(*a >= n_nodes) + u8::from(*b >= n_nodes)));
        down[*a].push((*b, weight));
        up[*b].push((*a, weight));
    }
    let distance = |a: usize, b: usize| {
        let gap = if a >= n_nodes && b >= n_nodes { gap / 2.0 } else { gap };
        (widths[a] + widths[b]) / 2.0 + gap
    };
    let mut middles = vec![0.0; n_slots];
    for row in &layers.rows {
        let mut x = 0.0;
        for (at, slot) in row.iter().enumerate() {
            x += at.checked_sub(1).map_or(0.0, |before| distance(row[before], *slot));
            middles[*slot] = x;
        }
        row.iter().for_each(|slot| middles[*slot] -= x / 2.0);
    }
    for sweep in 0..N_SWEEPS {
        let is_last = sweep + 2 >= N_SWEEPS;
        let mut settle = |row: &Vec<usize>| {
            let wanted: Vec<(f64, f64)> = row
                .iter()
                .map(|slot| {
                    let (above, below) = (&up[*slot], &down[*slot]);
                    let both = above.iter().chain(below);
                    let linked: Vec<&(usize, f64)> = match (is_last, sweep % 2 == 0) {
                        (true, _) => both.collect(),
                        (false, true) => above.iter().collect(),
                        (false, false) => below.iter().collect(),
                    };
                    let weight: f64 = linked.iter().map(|(_, weight)| weight).sum();
                    if weight == 0.0 {
                        // Free to give way.
                        return (middles[*slot], 0.01);
                    }
                    (linked.iter().map(|(other, weight)| middles[*other] * weight).sum::<f64>() / weight, weight)
                })
                .collect();
            let distances: Vec<f64> = row.windows(2).map(|pair| distance(pair[0], pair[1])).collect();
            for (slot, x) in row.iter().zip(apart(&wanted, &distances)) {
                middles[*slot] = x;
            }
        };
        if sweep % 2 == 0 {
            layers.rows.iter().for_each(&mut settle);
        } else {
            layers.rows.iter().rev().for_each(&mut settle);
        }
    }
    for _ in 0..N_STRAIGHTENED {
        straighten(layers, n_nodes, &distance, &mut middles);
    }
    let left = (0..n_slots).map(|slot| middles[slot] - widths[slot] / 2.0).fold(f64::INFINITY, f64::min);
    middles.iter_mut().for_each(|x| *x -= left);
    middles
}

/// Puts the bends of an arrow below each other, as far down as there is room between what stands beside them.
fn straighten(layers: &Layers, n_nodes: usize, distance: &dyn Fn(usize, usize) -> f64, middles: &mut [f64]) {
    let mut beside = vec![(None, None); middles.len()];
    for row in &layers.rows {
        for pair in row.windows(2) {
            beside[pair[0]].1 = Some(pair[1]);
            beside[pair[1]].0 = Some(pair[0]);
        }
    }
    for route in &layers.routes {
        let mut run: Vec<usize> = Vec::new();
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for slot in route.iter().filter(|slot| **slot >= n_nodes) {
            let (left, right) = beside[*slot];
            let least = left.map_or(f64::NEG_INFINITY, |left| middles[left] + distance(left, *slot));
            let most = right.map_or(f64::INFINITY, |right| middles[right] - distance(*slot, right));
            if least.max(low) > most.min(high) {
                align(&run, low, high, middles);
                run.clear();
                (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
            }
            (low, high) = (low.max(least), high.min(most));
            run.push(*slot);
        }
        align(&run, low, high, middles);
    }
}

fn align(run: &[usize], low: f64, high: f64, middles: &mut [f64]) {
    let mean = run.iter().map(|slot| middles[*slot]).sum::<f64>() / run.len() as f64;
    if low <= high {
        run.iter().for_each(|slot| middles[*slot] = mean.clamp(low, high));
    }
}

/// Returns the places nearest to those wanted, by least squares, at which neighbours keep their distance.
///
/// Less the distances before it each place must not be smaller than the one before: that is a monotone regression, solved
/// by pooling neighbours that want to pass each other. `wanted` holds places and weights.
fn apart(wanted: &[(f64, f64)], distances: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let offsets: Vec<f64> = std::iter::once(0.0)
        .chain(distances.iter().map(|distance| {
            offset += distance;
            offset
        }))
        .collect();
    // Of each pool: the mean that its members want, their weight, their number.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for ((x, weight), offset) in wanted.iter().zip(&offsets) {
        let mut pool = (x - offset, *weight, 1);
        while let Some((mean, weight, n)) = pools.pop_if(|before| before.0 >= pool.0) {
            let sum = weight + pool.1;
            pool = ((mean * weight + pool.0 * pool.1) / sum, sum, n + pool.2);
        }
        pools.push(pool);
    }
    let means = pools.into_iter().flat_map(|(mean, _, n)| std::iter::repeat_n(mean, n));
    means.zip(offsets).map(|(mean, offset)| mean + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::super::layers::cut;
    use super::*;

    #[test]
    fn neighbours_keep_their_distance_and_stay_near_what_they_want() {
        assert_eq!(apart(&[(0.0, 1.0), (10.0, 1.0)], &[4.0]), [0.0, 10.0], "nothing is in the way");
        assert_eq!(apart(&[(5.0, 1.0), (5.0, 1.0)], &[4.0]), [3.0, 7.0], "both give way alike");
        assert_eq!(apart(&[(5.0, 3.0), (5.0, 1.0)], &[4.0]), [4.0, 8.0], "by weight");
        assert_eq!(apart(&[(9.0, 1.0), (0.0, 1.0), (50.0, 1.0)], &[2.0, 2.0]), [3.5, 5.5, 50.0]);
        assert!(apart(&[], &[]).is_empty());
    }

    #[test]
    fn a_long_arrow_is_straight_where_there_is_room() {
        let arrows = [(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 4, 0), (0, 4, 1)];
        let layers = cut(5, &arrows, 100).unwrap();
        let middles = place(&layers, &[50.0, 80.0, 20.0, 60.0, 50.0, 6.0, 6.0, 6.0], 5, 10.0);
        assert_eq!((middles[5], middles[6]), (middles[6], middles[7]));
    }

    #[test]
    fn nothing_stands_on_anything_else() {
        let arrows: Vec<_> = (1..30).map(|i| ((i * 7) % i, i, i % 3)).collect();
        let layers = cut(30, &arrows, 1000).unwrap();
        let widths: Vec<f64> = (0..layers.row_of.len()).map(|slot| 20.0 + (slot % 5) as f64 * 13.0).collect();
        let middles = place(&layers, &widths, 30, 10.0);
        for row in &layers.rows {
            for pair in row.windows(2) {
                let free = middles[pair[1]] - middles[pair[0]] - (widths[pair[0]] + widths[pair[1]]) / 2.0;
                assert!(free > 4.999, "{free}");
            }
        }
        assert!(middles.iter().zip(&widths).all(|(x, width)| x - width / 2.0 > -0.001));
    }
}
