use reseed_terms::{Capture, Lsn, RedoFormat};

use crate::mariadb::{BlockParser, RingParser};
use crate::mysql::MysqlParser;
use crate::{LogVisitor, MtrSpan, RedoError};

/// Reads a captured run of redo, mini-transaction by mini-transaction, whichever format it has.
///
/// Bytes are pushed in as they come, cut anywhere. Reading starts at the capture's checkpoint and ends at its `end`;
/// a capture whose end is not known yet has the largest number there.
#[derive(Debug, Clone)]
pub enum LogParser {
    MariadbRing(RingParser),
    MariadbBlocks(BlockParser),
    Mysql(Box<MysqlParser>),
}

impl LogParser {
    /// # Errors
    /// When the capture's own numbers contradict each other.
    pub fn new(capture: &Capture) -> Result<LogParser, RedoError> {
        Ok(match capture.format {
            RedoFormat::MariadbRing => LogParser::MariadbRing(RingParser::new(capture)?),
            RedoFormat::MariadbBlocks => LogParser::MariadbBlocks(BlockParser::new(capture)?),
            RedoFormat::MysqlBlocks => LogParser::Mysql(Box::new(MysqlParser::new(capture))),
        })
    }

    /// Appends the next bytes of the run. Block formats: the last block, while it was not full, may be pushed again,
    /// whole, when it has grown.
    ///
    /// # Errors
    /// When the bytes are not the run's continuation.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), RedoError> {
        match self {
            LogParser::MariadbRing(parser) => parser.push(bytes),
            LogParser::MariadbBlocks(parser) => parser.push(bytes)?,
            LogParser::Mysql(parser) => parser.push(bytes)?,
        }
        Ok(())
    }

    /// Shows the next mini-transaction to `visitor`. `None`: push more, or the capture's end is reached.
    ///
    /// # Errors
    /// When the redo is damaged or holds records of an unknown kind.
    pub fn next_mtr(&mut self, visitor: &mut dyn LogVisitor) -> Result<Option<MtrSpan>, RedoError> {
        match self {
            LogParser::MariadbRing(parser) => parser.next_mtr(visitor),
            LogParser::MariadbBlocks(parser) => parser.next_mtr(visitor),
            LogParser::Mysql(parser) => Ok(parser.next_mtr(visitor)?),
        }
    }

    /// Where the next mini-transaction starts: everything before was shown.
    pub fn position(&self) -> Lsn {
        match self {
            LogParser::MariadbRing(parser) => parser.position(),
            LogParser::MariadbBlocks(parser) => parser.position(),
            LogParser::Mysql(parser) => parser.position(),
        }
    }
}
