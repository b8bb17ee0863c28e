//! Which row of the picture each node stands in, and where arrows bend on their way through other rows.

/// A graph cut into rows: every link goes from one row to the next.
pub struct Layers {
    /// The slots of each row, from left to right. Slots below the number of nodes are nodes, the others are bends.
    pub rows: Vec<Vec<usize>>,
    pub row_of: Vec<usize>,
    /// Links between neighbouring rows, each once.
    pub links: Vec<(usize, usize)>,
    /// The slots that each arrow passes, its ends included.
    pub routes: Vec<Vec<usize>>,
}

/// A graph needs more room than a picture has.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Cuts a graph without circles into rows. Arrows are `(from, to, lane)`: those of one node and one lane share their way.
pub fn cut(n_nodes: usize, arrows: &[(usize, usize, usize)], most_slots: usize) -> Result<Layers, TooLarge> {
    let mut row_of = rows(n_nodes, arrows);
    let mut links = Vec::new();
    let mut routes = Vec::with_capacity(arrows.len());
    // The way down that the arrows of a lane share, with the slot in each row that it has come to.
    let mut ways: std::collections::HashMap<(usize, usize), Vec<usize>> = std::collections::HashMap::new();
    for (from, to, lane) in arrows {
        let way = ways.entry((*from, *lane)).or_insert_with(|| vec![*from]);
        // There are no circles; an arrow that is part of one has no way.
        let n_rows = row_of[*to].saturating_sub(row_of[*from]);
        while way.len() < n_rows {
            if row_of.len() >= most_slots {
                return Err(TooLarge);
            }
            let bend = row_of.len();
            row_of.push(row_of[*from] + way.len());
            links.extend(way.last().map(|last| (*last, bend)));
            way.push(bend);
        }
        let mut route = way[..n_rows].to_vec();
        links.extend(route.last().map(|last| (*last, *to)));
        route.push(*to);
        routes.push(route);
    }
    links.sort_unstable();
    links.dedup();
    let mut rows = vec![Vec::new(); row_of.iter().max().map_or(0, |last| last + 1)];
    for (slot, row) in row_of.iter().enumerate() {
        rows[*row].push(slot);
    }
    Ok(Layers { rows, row_of, links, routes })
}

/// Puts each node below all that it needs, and what needs nothing right above what needs it.
fn rows(n_nodes: usize, arrows: &[(usize, usize, usize)]) -> Vec<usize> {
    let (mut down, mut n_above) = (vec![Vec::new(); n_nodes], vec![0_usize; n_nodes]);
    for (from, to, _) in arrows {
        down[*from].push(*to);
        n_above[*to] += 1;
    }
    let needs_nothing: Vec<usize> = (0..n_nodes).filter(|node| n_above[*node] == 0).collect();
    let mut row_of = vec![0; n_nodes];
    let mut ready = needs_nothing.clone();
    while let Some(node) = ready.pop() {
        for below in &down[node] {
            row_of[*below] = row_of[*below].max(row_of[node] + 1);
            n_above[*below] -= 1;
            if n_above[*below] == 0 {
                ready.push(*below);
            }
        }
    }
    for node in needs_nothing {
        if let Some(nearest) = down[node].iter().map(|below| row_of[*below]).min() {
            row_of[node] = nearest - 1;
        }
    }
    row_of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_join_neighbouring_rows_and_routes_follow_links() {
        // 0 -> 1 -> 2 -> 3 and twice 0 -> 3 in two lanes; 4 is needed by 3 alone.
        let arrows = [(0, 1, 0), (1, 2, 0), (2, 3, 0), (0, 3, 0), (0, 3, 1), (4, 3, 0)];
        let layers = cut(5, &arrows, 100).unwrap();
        assert_eq!(layers.row_of[..5], [0, 1, 2, 3, 2], "what needs nothing stands above what needs it");
        assert!(layers.links.iter().all(|(a, b)| layers.row_of[*b] == layers.row_of[*a] + 1));
        for (route, (from, to, _)) in layers.routes.iter().zip(arrows) {
            assert_eq!((route.first(), route.last()), (Some(&from), Some(&to)));
            assert!(route.windows(2).all(|pair| layers.links.contains(&(pair[0], pair[1]))));
        }
        assert_ne!(layers.routes[3][1], layers.routes[4][1], "lanes have ways of their own");
    }

    #[test]
    fn arrows_of_one_lane_share_their_way() {
        let layers = cut(4, &[(0, 1, 0), (1, 2, 0), (2, 3, 0), (0, 2, 0), (0, 3, 0)], 100).unwrap();
        assert_eq!(layers.row_of.len(), 4 + 2, "two bends, not three");
    }

    #[test]
    fn what_needs_too_many_bends_is_refused() {
        assert_eq!(cut(3, &[(0, 1, 0), (1, 2, 0), (0, 2, 0)], 3).err(), Some(TooLarge));
        assert!(cut(0, &[], 0).is_ok());
    }
}
