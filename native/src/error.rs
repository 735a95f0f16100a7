//! What can be wrong with a bitstream, and where.

use std::fmt;

/// Whether the stream breaks the specification or merely uses a part of it that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes break the specification (or are damaged).
    Invalid,
    /// The specification allows this, the parser does not.
    Unsupported,
}

/// An error with its place: the syntax element and the bit offset inside the RBSP of the NAL unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Broken or merely unsupported.
    pub kind: ErrorKind,
    /// Name of the syntax element (spec spelling) or of the rule that was broken.
    pub element: &'static str,
    /// Offset in bits from the first bit after the NAL unit header.
    pub bit_offset: u64,
}

/// Result of everything that reads a bitstream.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The bytes break the specification at `element`.
    pub const fn invalid(element: &'static str, bit_offset: u64) -> Self {
        Self { kind: ErrorKind::Invalid, element, bit_offset }
    }

    /// The stream uses `element` in a way that the parser does not handle.
    pub const fn unsupported(element: &'static str, bit_offset: u64) -> Self {
        Self { kind: ErrorKind::Unsupported, element, bit_offset }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unsupported => "unsupported",
        };
        write!(f, "{kind} {} at bit {}", self.element, self.bit_offset)
    }
}

impl std::error::Error for Error {}
