//! A contest: the same task done by several, a round each in turn (A B C, A B C, …), so that whatever else the machine does
//! meets all of them alike. Ratios are taken within a round.

use crate::table::{Row, SPREAD, Spread, Table};

/// Several doing the same.
pub struct Contest {
    title: String,
    unit: &'static str,
    contestants: Vec<Contestant>,
}

/// One of them.
struct Contestant {
    name: String,
    /// Whom it is compared with: the name of another contestant.
    peer: Option<&'static str>,
    /// Does the task once and says how it went, in the contest's unit.
    round: Box<dyn FnMut() -> f64>,
}

impl Contest {
    /// A contest in which figures are in `unit`.
    pub fn new(title: impl Into<String>, unit: &'static str) -> Contest {
        Contest { title: title.into(), unit, contestants: Vec::new() }
    }

    /// Adds one that others are compared with.
    pub fn peer(self, name: &str, round: impl FnMut() -> f64 + 'static) -> Contest {
        self.add(name, None, round)
    }

    /// Adds one that is compared with `peer`.
    pub fn reference(self, name: &str, peer: &'static str, round: impl FnMut() -> f64 + 'static) -> Contest {
        self.add(name, Some(peer), round)
    }

    fn add(
        mut self,
        name: &str,
        peer: Option<&'static str>,
        round: impl FnMut() -> f64 + 'static,
    ) -> Contest {
        self.contestants.push(Contestant { name: name.to_owned(), peer, round: Box::new(round) });
        self
    }

    /// One round to warm up, then `rounds` that count.
    pub fn run(mut self, rounds: usize) -> Table {
        let mut figures = vec![Vec::with_capacity(rounds); self.contestants.len()];
        for round in 0..=rounds {
            for (contestant, figures) in self.contestants.iter_mut().zip(&mut figures) {
                let figure = (contestant.round)();
                if round > 0 {
                    figures.push(figure);
                }
            }
        }
        let rows = self.contestants.iter().enumerate().map(|(place, contestant)| Row {
            name: contestant.name.clone(),
            figures: Spread::of(&figures[place]),
            peer: contestant.peer.map(|peer| (peer, self.ratio(&figures, place, peer))),
        });
        Table { title: self.title.clone(), unit: self.unit, columns: SPREAD, rows: rows.collect() }
    }

    /// The median of the ratios within the rounds.
    fn ratio(&self, figures: &[Vec<f64>], place: usize, peer: &str) -> f64 {
        let peer = self.contestants.iter().position(|contestant| contestant.name == peer);
        let peer = peer.expect("a peer takes part in the contest");
        let ratios: Vec<f64> =
            figures[place].iter().zip(&figures[peer]).map(|(mine, theirs)| mine / theirs).collect();
        Spread::of(&ratios).median()
    }
}
