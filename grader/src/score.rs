//! Points: earned out of possible, always whole numbers.

use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// Points earned out of those possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Points earned.
    pub earned: u32,
    /// Points that could be earned.
    pub possible: u32,
}

impl Score {
    /// Whether nothing was lost.
    pub fn is_full(self) -> bool {
        self.earned == self.possible
    }
}

impl Sum for Score {
    fn sum<I: Iterator<Item = Score>>(scores: I) -> Score {
        scores.fold(Score::default(), |sum, score| Score {
            earned: sum.earned + score.earned,
            possible: sum.possible + score.possible,
        })
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.earned, self.possible)
    }
}
