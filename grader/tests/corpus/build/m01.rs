//! Makes the compiler say more than anybody reads.
//!
//! message: an error whose text is longer than 1 MiB

macro_rules! double {
    ($text:expr $(, $more:tt)*) => { double! { @ concat!($text, $text) $(, $more)* } };
    (@ $text:expr) => { compile_error! { $text } };
    (@ $text:expr, $first:tt $(, $more:tt)*) => { double! { @ concat!($text, $text) $(, $more)* } };
}

double! { "more than anybody reads, ", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }
