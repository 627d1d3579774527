//! Operations on undo log pages.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 38 | 2 | type |
//! | 40 | 2 | begin of the newest log's records |
//! | 42 | 2 | free: where the next record goes |
//! | 44 | 12 | place in a list of pages |
//! | 56 | 30 | segment header |

use reseed_innodb::{PageType, fil};

use super::page::{Bad, Page};

const KIND: usize = 38;
const START: usize = 40;
const FREE: usize = 42;
const NODE: usize = 44;
const RECORDS: usize = 56;
const SEGMENT_END: usize = 86;

pub(super) fn init(page: &mut Page<'_>) -> Result<(), Bad> {
    page.set_word(fil::TYPE, usize::from(PageType::UNDO.0))?;
    page.set_word(KIND, 0)?;
    page.set_word(START, RECORDS)?;
    page.set_word(FREE, RECORDS)?;
    page.put(NODE, &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0])?;
    page.zero(SEGMENT_END, page.len() - fil::TRAILER)
}

/// Appends a record: link to the next, data, link back.
pub(super) fn append(page: &mut Page<'_>, data: &[u8]) -> Result<(), Bad> {
    let free = page.word(FREE)?;
    let next = free + data.len() + 4;
    if free < RECORDS || data.len() <= 2 || next + 2 >= page.len() - fil::TRAILER {
        return Err(Bad("an undo record that does not fit"));
    }
    page.set_word(FREE, next)?;
    page.set_word(free, next)?;
    page.put(free + 2, data)?;
    page.set_word(free + 2 + data.len(), free)
}
