//! What came out of a contest, and how it is shown.

use serde_json::{Value, json};

/// The figures of a contest.
pub struct Table {
    /// What was done.
    pub title: String,
    /// What the figures are in.
    pub unit: &'static str,
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

/// Least, middle, most.
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: &[f64]) -> Spread {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        Spread { min: sorted[0], median: sorted[sorted.len() / 2], max: sorted[sorted.len() - 1] }
    }
}

impl Table {
    /// For people at a terminal.
    pub fn to_text(&self) -> String {
        let mut lines =
            vec![format!("{} ({})", self.title, self.unit), columns("", ["min", "median", "max"], "")];
        for row in &self.rows {
            let figures = row.figures();
            lines.push(columns(&row.name, figures.each_ref().map(String::as_str), &row.ratio(" of ")));
        }
        lines.join("\n") + "\n"
    }

    /// For a page.
    pub fn to_markdown(&self) -> String {
        let mut lines = vec![
            format!("| {} | min | median | max | beside |", self.title),
            "|---|---:|---:|---:|---|".to_owned(),
        ];
        for row in &self.rows {
            let [min, median, max] = row.figures();
            lines.push(format!("| {} | {min} | {median} | {max} | {} |", row.name, row.ratio(" × ")));
        }
        format!("In {}.\n\n{}\n", self.unit, lines.join("\n"))
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name,
                "min": row.figures.min,
                "median": row.figures.median,
                "max": row.figures.max,
                "peer": row.peer.map(|(name, _)| name),
                "ratio": row.peer.map(|(_, ratio)| ratio),
            })
        });
        json!({ "title": self.title, "unit": self.unit, "rows": rows.collect::<Vec<_>>() })
    }
}

impl Row {
    fn figures(&self) -> [String; 3] {
        [self.figures.min, self.figures.median, self.figures.max].map(short)
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
