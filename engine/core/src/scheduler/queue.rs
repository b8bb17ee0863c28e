//! Which of the ready steps starts next: the highest priority that there is room for, and nobody is passed over for ever.
//!
//! Steps with the same need stand in one line, so that choosing costs as many looks as there are different needs,
//! however many steps are ready.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::pool::{Grant, Need, Pool};

/// How many steps of lower priority may start before one for which there is no room. From then on, what it needs is
/// kept for it.
pub const MAX_PASSED: u32 = 16;

pub struct Queue {
    lines: Vec<Line>,
    /// Of each step.
    line_of: Vec<usize>,
    /// Lines whose turn it is, in the order in which it came.
    due: VecDeque<usize>,
}

/// Ready steps with one need: the highest priority first, then as declared. May hold steps that have moved on.
struct Line {
    need: Option<Need>,
    ready: BinaryHeap<(u64, Reverse<usize>)>,
    /// How many steps of lower priority were started while there was no room for this line.
    n_passed: u32,
}

impl Queue {
    /// `needs` are those of all steps, in order.
    pub fn new<'a>(needs: impl Iterator<Item = Option<&'a Need>>) -> Self {
        let mut known: BTreeMap<Option<&Need>, usize> = BTreeMap::new();
        let mut lines = Vec::new();
        let mut line_of = Vec::new();
        for need in needs {
            let line = *known.entry(need).or_insert_with(|| {
                lines.push(Line { need: need.cloned(), ready: BinaryHeap::new(), n_passed: 0 });
                lines.len() - 1
            });
            line_of.push(line);
        }
        Self { lines, line_of, due: VecDeque::new() }
    }

    pub fn push(&mut self, step: usize, priority: u64) {
        self.lines[self.line_of[step]].ready.push((priority, Reverse(step)));
    }

    /// Takes out the step that starts next, with what the pool grants it. `None`: nothing is ready and may start now, or there is
    /// no room.
    pub fn next(
        &mut self,
        pool: &mut Pool,
        is_ready: impl Fn(usize) -> bool,
        may_start: impl Fn(usize) -> bool,
    ) -> Option<(usize, Grant)> {
        for line in &mut self.lines {
            while line.ready.peek().is_some_and(|&(_, Reverse(step))| !is_ready(step)) {
                line.ready.pop();
            }
        }
        self.due.retain(|&line| !self.lines[line].ready.is_empty());
        let is_first_ready = |line: &Line| line.ready.peek().is_some_and(|&(_, Reverse(step))| may_start(step));
        let mut order: Vec<usize> = (0..self.lines.len()).filter(|&line| is_first_ready(&self.lines[line])).collect();
        order.sort_by_key(|&line| Reverse(self.lines[line].ready.peek().copied()));
        order.retain(|line| !self.due.contains(line));
        order.splice(..0, self.due.iter().copied().filter(|&line| is_first_ready(&self.lines[line])));
        for (n_before, &line) in order.iter().enumerate() {
            if let Some(grant) = self.try_take(line, pool) {
                order[..n_before].iter().for_each(|&passed| self.on_passed(passed));
                let chosen = &mut self.lines[line];
                chosen.n_passed = 0;
                self.due.retain(|&due| due != line);
                let (_, Reverse(step)) = chosen.ready.pop()?;
                return Some((step, grant));
            }
        }
        None
    }

    /// Takes what a line needs, unless that would make a line wait longer whose turn came before.
    fn try_take(&self, line: usize, pool: &mut Pool) -> Option<Grant> {
        let Some(need) = &self.lines[line].need else { return Some(Grant::default()) };
        let due_before = self.due.iter().take_while(|&&due| due != line);
        let mut waiting = due_before.filter_map(|&due| self.lines[due].need.as_ref());
        if waiting.any(|waiting| !pool.may_pass(need, waiting)) {
            return None;
        }
        pool.take(need)
    }

    fn on_passed(&mut self, line: usize) {
        self.lines[line].n_passed += 1;
        if self.lines[line].n_passed >= MAX_PASSED && !self.due.contains(&line) {
            self.due.push_back(line);
        }
    }
}
