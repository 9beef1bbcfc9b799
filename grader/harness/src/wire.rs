//! How answers travel from a worker to the supervisor: a minimal byte encoding.
//!
//! The reader trusts nothing: a worker holds the submission's code, so every length is checked.

/// A value that can be sent between the supervisor and a worker.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads a value off the front; `None` if the bytes are not one.
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Wire for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (number, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(<$number>::from_le_bytes(*number))
            }
        }
    )+};
}

numbers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f64);

macro_rules! pointer_sized {
    ($($number:ty as $wide:ty),+) => {$(
        impl Wire for $number {
            fn put(&self, out: &mut Vec<u8>) {
                (*self as $wide).put(out);
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                <$wide>::take(bytes)?.try_into().ok()
            }
        }
    )+};
}

pointer_sized!(usize as u64, isize as i64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        match u8::take(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Wire for char {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u32).put(out);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        char::from_u32(u32::take(bytes)?)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let length = usize::take(bytes)?;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let length = usize::take(bytes)?;
        // An item of no bytes (`()`) would let a forged length run for ever.
        if length > bytes.len() && length > 1 << 20 {
            return None;
        }
        (0..length).map(|_| T::take(bytes)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        if bool::take(bytes)? { T::take(bytes).map(Some) } else { Some(None) }
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        if bool::take(bytes)? { T::take(bytes).map(Ok) } else { E::take(bytes).map(Err) }
    }
}

macro_rules! tuples {
    ($(($($name:ident)*)),+) => {$(
        #[allow(non_snake_case, unused_variables, clippy::unused_unit, reason = "one body for every size")]
        impl<$($name: Wire),*> Wire for ($($name,)*) {
            fn put(&self, out: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.put(out);)*
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($name::take(bytes)?,)*))
            }
        }
    )+};
}

tuples!((), (A), (A B), (A B C), (A B C D), (A B C D E), (A B C D E F));

/// The encoding of `value`.
pub(crate) fn encode(value: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// The value that is encoded by exactly these bytes.
pub(crate) fn decode<T: Wire>(mut bytes: &[u8]) -> Option<T> {
    let value = T::take(&mut bytes)?;
    bytes.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Wire + PartialEq + std::fmt::Debug>(value: T) {
        let bytes = encode(&value);
        for length in 0..bytes.len() {
            assert_eq!(decode::<T>(&bytes[..length]), None, "{length} bytes of {value:?}");
        }
        assert_eq!(decode(&bytes), Some(value));
    }

    #[test]
    fn values_survive_the_trip_and_truncations_do_not() {
        check((u8::MAX, -1i64, 3usize, true, 'ß', 1.5));
        check(vec![Some("a".to_string()), None]);
        check::<Result<(u16, u16), String>>(Ok((1, 2)));
        check::<Result<(), String>>(Err("no".into()));
    }

    #[test]
    fn forged_lengths_are_refused() {
        assert_eq!(decode::<Vec<u64>>(&u64::MAX.to_le_bytes()), None);
        assert_eq!(decode::<Vec<()>>(&u64::MAX.to_le_bytes()), None);
        assert_eq!(decode::<String>(&u64::MAX.to_le_bytes()), None);
        assert_eq!(decode::<bool>(&[2]), None);
    }
}
