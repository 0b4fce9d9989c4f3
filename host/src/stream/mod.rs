//! Byte streams that always travel with their outcome. Knows no wasm.
//!
//! Everything is pulled: a chunk moves when whoever sends it on asks for it, so memory is bounded by one chunk per step
//! and the capacity of the pipes.

mod abreast;
mod algorithm;
mod attempts;
mod beginning;
mod checksum;
mod digest;
mod enclosed;
mod even;
mod expected;
mod flow;
mod frame;
mod hasher;
mod incoming;
mod limit;
mod marks;
mod meter;
mod of_file;
mod outcome;
mod pieces;
mod pipe;
mod pulse;
mod replay;
mod resumed;
mod rewound;
mod spool;
mod tap;
mod upto;
mod window;
mod zeros;

pub use abreast::{Connections, MAX_CONNECTIONS, abreast};
pub use algorithm::{Algorithm, Begun, MalformedSum, Sum};
pub use attempts::Attempts;
pub use beginning::{beginning, preceded};
pub use checksum::{Checksums, checksummed};
pub use digest::{DigestHandle, hashed, hashed_from};
pub use enclosed::{Enclosure, enclosed};
pub use even::even;
pub use expected::{Count, beginning_with, counted, exactly, no_more_than};
pub use flow::{Chunks, Failing, Flow};
pub use frame::{Layer, MAX_LITERAL_BYTES, MAX_SEGMENTS, MAX_ZERO_BYTES, Segment, framed};
pub use incoming::{Bringer, Incoming, NobodyTakes, incoming};
pub use limit::limited;
pub use marks::{MARK_EVERY, Marks, Midstate};
pub use meter::{metered, metered_into};
pub use of_file::{chained, of_file, regular_file};
pub use outcome::{Outcome, OutcomeSetter, outcome};
pub use pieces::{GivenUp, PIECE_BYTES, Piece, PieceOutput, Work, in_pieces};
pub use pipe::{PIPE_BYTES, PipeReader, PipeWriter, pipe};
pub use pulse::{Helping, Pulse};
pub use replay::{Reframed, Replay};
pub use resumed::Resumable;
pub use spool::{Spool, Spooled};
pub use tap::{Tapped, tapped};
pub use upto::{Cut, upto};
pub use window::{
    Answer, MAX_RANGED_BYTES, MAX_WINDOW_READ, Ranges, Reading, Seek, Window, WindowError, beginning_windowed, windowed,
};
pub use zeros::zeros;
