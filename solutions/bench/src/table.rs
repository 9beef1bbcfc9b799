//! What came out of a contest, and how it is shown.

use serde_json::{Value, json};

/// The figures of a contest.
pub struct Table {
    /// What was done.
    pub title: String,
    /// What the figures are in.
    pub unit: &'static str,
    /// Which of a contestant's figures are shown.
    pub columns: Columns,
    /// One for each contestant.
    pub rows: Vec<Row>,
}

/// The figures of one contestant.
pub struct Row {
    /// Who it is.
    pub name: String,
    /// Over all rounds.
    pub figures: Spread,
    /// Whom it is compared with, and its figure divided by theirs.
    pub peer: Option<(&'static str, f64)>,
}

/// What a column is called, and how many of 100 figures are below the one that it shows.
pub type Columns = [(&'static str, usize); 3];

/// Least, middle, most.
pub const SPREAD: Columns = [("min", 0), ("median", 50), ("max", 100)];
/// For what must hold nearly always.
pub const TAIL: Columns = [("median", 50), ("p95", 95), ("p99", 99)];

/// Figures in ascending order; at least one.
pub struct Spread(Vec<f64>);

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: &[f64]) -> Spread {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        Spread(sorted)
    }

    /// The figure in the middle.
    pub fn median(&self) -> f64 {
        self.above(50)
    }

    /// The least figure that is above so many of 100.
    fn above(&self, percent: usize) -> f64 {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

impl Table {
    /// For people at a terminal.
    pub fn to_text(&self) -> String {
        let mut lines = vec![
            format!("{} ({})", self.title, self.unit),
            columns("", self.columns.map(|(name, _)| name), ""),
        ];
        for row in &self.rows {
            let figures = row.figures(&self.columns);
            lines.push(columns(&row.name, figures.each_ref().map(String::as_str), &row.ratio(" of ")));
        }
        lines.join("\n") + "\n"
    }

    /// For a page.
    pub fn to_markdown(&self) -> String {
        let mut lines = vec![
            format!("| {} | {} | beside |", self.title, self.columns.map(|(name, _)| name).join(" | ")),
            "|---|---:|---:|---:|---|".to_owned(),
        ];
        for row in &self.rows {
            let figures = row.figures(&self.columns).join(" | ");
            lines.push(format!("| {} | {figures} | {} |", row.name, row.ratio(" × ")));
        }
        format!("In {}.\n\n{}\n", self.unit, lines.join("\n"))
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let mut object = json!({
                "name": row.name,
                "peer": row.peer.map(|(name, _)| name),
                "ratio": row.peer.map(|(_, ratio)| ratio),
            });
            for (name, percent) in self.columns {
                object[name] = row.figures.above(percent).into();
            }
            object
        });
        json!({ "title": self.title, "unit": self.unit, "rows": rows.collect::<Vec<_>>() })
    }
}

impl Row {
    fn figures(&self, columns: &Columns) -> [String; 3] {
        columns.map(|(_, percent)| short(self.figures.above(percent)))
    }

    fn ratio(&self, between: &str) -> String {
        self.peer.map_or_else(String::new, |(name, ratio)| format!("{ratio:.2}{between}{name}"))
    }
}

fn columns(name: &str, figures: [&str; 3], ratio: &str) -> String {
    let [min, median, max] = figures;
    format!("  {name:<44}{min:>9}{median:>9}{max:>9}   {ratio}").trim_end().to_owned()
}

/// Three digits that count.
fn short(figure: f64) -> String {
    let decimals = match figure {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}
