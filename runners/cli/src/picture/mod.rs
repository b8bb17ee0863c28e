//! A pipeline's graph as a picture: an SVG from top to bottom that needs no other program, script or file.
//!
//! The steps are the usual ones of a layered drawing: rows (`layers`), order within rows (`order`), places (`place`),
//! text (`svg`). The same pipeline gives the same bytes. Knows no store and no run.

mod edges;
mod layers;
mod order;
mod place;
mod shown;
mod svg;

use std::collections::BTreeMap;

use mlp_model::{Node, Pipeline};

pub use edges::{Edge, edges};
pub use layers::TooLarge;
pub use shown::Kind;
pub use svg::escaped;

use shown::{Graph, Shown};
use svg::{Box, Drawing, Lane, Route};

/// More places than this make a picture that nobody can read.
const MOST_SLOTS: usize = 6_000;

const BOX_HEIGHT: f64 = 44.0;
const ROW_GAP: f64 = 54.0;
const GAP: f64 = 26.0;
const BEND_WIDTH: f64 = 6.0;
const MARGIN: f64 = 16.0;
/// How far a named arrow goes straight down: as far as its name reaches.
const NAMED: f64 = 17.0;
/// What stands beside the text of a box.
const PADDING: f64 = 30.0;
const LEAST_WIDTH: f64 = 84.0;
/// Between the places where arrows leave or reach a box.
const PORT_GAP: f64 = 14.0;

/// Draws a pipeline. `link` gives the address that a node leads to.
pub fn draw(pipeline: &Pipeline, link: &dyn Fn(&Node) -> Option<String>) -> Result<String, TooLarge> {
    let graph = Graph::of(pipeline);
    let n_nodes = graph.nodes.len();
    let lanes = lanes(&graph);
    let arrows: Vec<_> =
        graph.edges.iter().map(|edge| (edge.from, edge.to, lanes[&(edge.from, edge.what.as_str())])).collect();
    if n_nodes > MOST_SLOTS {
        return Err(TooLarge);
    }
    let mut layers = layers::cut(n_nodes, &arrows, MOST_SLOTS)?;
    order::order(&mut layers);
    let mut leaving: Vec<Vec<&str>> = vec![Vec::new(); n_nodes];
    lanes.keys().for_each(|(from, what)| leaving[*from].push(what));
    let mut widths: Vec<f64> = graph.nodes.iter().zip(&leaving).map(|(node, lanes)| width(node, lanes)).collect();
    widths.resize(layers.row_of.len(), BEND_WIDTH);
    let middles = place::place(&layers, &widths, n_nodes, GAP);

    let boxes: Vec<Box<'_>> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(at, shown)| Box {
            shown,
            x: MARGIN + middles[at] - widths[at] / 2.0,
            y: MARGIN + layers.row_of[at] as f64 * (BOX_HEIGHT + ROW_GAP),
            width: widths[at],
            height: BOX_HEIGHT,
            link: pipeline.nodes.get(shown.first).and_then(link),
        })
        .collect();
    // Behind its box a lane leaves where it leads to, and reaches the next one where it comes from.
    let toward = |route: &[usize], at: usize| route.get(at).map_or(0.0, |slot| middles[*slot]);
    let (mut out, mut into) = (Ports::default(), Ports::default());
    for ((from, to, lane), route) in arrows.iter().zip(&layers.routes) {
        out.add(*from, *lane, toward(route, 1));
        into.add(*to, from * n_nodes + lane, toward(route, route.len().saturating_sub(2)));
    }
    let lane_width =
        |from: usize, lane: usize| leaving[from].get(lane).map_or(0.0, |what| svg::small_width(what) + 8.0);
    let leaves = out.places(&boxes, &|node, lane| lane_width(node, lane).max(PORT_GAP));
    let reaches = into.places(&boxes, &|_, _| PORT_GAP);
    let mut routes = Vec::with_capacity(arrows.len());
    for ((from, to, lane), route) in arrows.iter().zip(&layers.routes) {
        let (Some(start), Some(end)) = (leaves.get(&(*from, *lane)), reaches.get(&(*to, from * n_nodes + lane))) else {
            continue;
        };
        let bends = route.iter().filter(|slot| **slot >= n_nodes);
        let bends = bends.map(|slot| {
            let y = MARGIN + layers.row_of[*slot] as f64 * (BOX_HEIGHT + ROW_GAP);
            (MARGIN + middles[*slot], y, y + BOX_HEIGHT)
        });
        let below = boxes[*from].y + BOX_HEIGHT;
        let is_named = leaving[*from].get(*lane).is_some_and(|what| !what.is_empty());
        let start = (*start, below, below + if is_named { NAMED } else { 0.0 });
        routes.push(Route { start, bends: bends.collect(), end: (*end, boxes[*to].y) });
    }
    let labels = lanes.iter().filter(|((_, what), _)| !what.is_empty());
    let labels = labels.filter_map(|((from, what), lane)| {
        let x = *leaves.get(&(*from, *lane))?;
        Some(Lane { what, x, y: boxes[*from].y + BOX_HEIGHT + 14.0 })
    });
    let right = (0..widths.len()).map(|slot| middles[slot] + widths[slot] / 2.0).fold(0.0, f64::max);
    let n_rows = layers.rows.len().max(1) as f64;
    let drawing = Drawing {
        name: &pipeline.name,
        width: right + 2.0 * MARGIN,
        height: n_rows * BOX_HEIGHT + (n_rows - 1.0) * ROW_GAP + 2.0 * MARGIN,
        labels: labels.collect(),
        boxes,
        routes,
    };
    Ok(drawing.to_svg())
}

/// Numbers the outputs that leave each node.
fn lanes(graph: &Graph) -> BTreeMap<(usize, &str), usize> {
    let mut lanes = BTreeMap::new();
    let mut n_of: BTreeMap<usize, usize> = BTreeMap::new();
    for edge in &graph.edges {
        lanes.entry((edge.from, edge.what.as_str())).or_insert_with(|| {
            let n = n_of.entry(edge.from).or_default();
            *n += 1;
            *n - 1
        });
    }
    lanes
}

/// Returns how wide a box is: its text, and the names of what leaves it, fit.
fn width(node: &Shown, leaving: &[&str]) -> f64 {
    let text = svg::name_width(&node.name).max(svg::small_width(&node.second_line()));
    let lanes: f64 = leaving.iter().map(|what| (svg::small_width(what) + 8.0).max(PORT_GAP)).sum();
    (text + PADDING).max(lanes + 12.0).max(LEAST_WIDTH).ceil()
}

/// Where arrows meet boxes: by node and lane, the places that they lead to.
#[derive(Default)]
struct Ports(BTreeMap<(usize, usize), (f64, f64)>);

impl Ports {
    fn add(&mut self, node: usize, lane: usize, toward: f64) {
        let (sum, n) = self.0.entry((node, lane)).or_default();
        *sum += toward;
        *n += 1.0;
    }

    /// Spreads the lanes of each box over its width, in the order of where they lead.
    fn places(&self, boxes: &[Box<'_>], room: &dyn Fn(usize, usize) -> f64) -> BTreeMap<(usize, usize), f64> {
        let mut of_node: BTreeMap<usize, Vec<(f64, usize)>> = BTreeMap::new();
        for ((node, lane), (sum, n)) in &self.0 {
            of_node.entry(*node).or_default().push((sum / n, *lane));
        }
        let mut places = BTreeMap::new();
        for (node, mut lanes) in of_node {
            lanes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let Some(one) = boxes.get(node) else { continue };
            let whole: f64 = lanes.iter().map(|(_, lane)| room(node, *lane)).sum();
            let shrink = ((one.width - 12.0) / whole).min(1.0);
            let mut x = one.x + one.width / 2.0 - whole * shrink / 2.0;
            for (_, lane) in lanes {
                let room = room(node, lane) * shrink;
                places.insert((node, lane), x + room / 2.0);
                x += room;
            }
        }
        places
    }
}
