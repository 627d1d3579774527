//! How the pages of a file are to be read, the check of each, and another read of one that was not whole.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reseed_innodb::{PageError, PageSize, SpaceFormat, doublewrite_pages, encryption, identify_page0};
use reseed_io::{AlignedBuf, DataFile};
use reseed_terms::{Lsn, PageNo, SpaceId};

use super::file::Open;
use super::{Copier, Job};
use crate::error::{BackupError, Refusal};
use crate::page_check::PageRules;
use crate::scan::{Found, FoundKind};

/// The system tablespace's page that says where the doublewrite pages are.
const TRX_SYS_PAGE: u64 = 5;
/// Pauses before a page that was not whole is read again. The server writes a page in far less than their sum.
pub(super) const REREADS: [u64; 14] = [0, 1, 1, 2, 4, 8, 16, 32, 64, 100, 100, 100, 100, 100];

impl Copier<'_> {
    /// Checks all pages of `part`, which was read at `offset`; pages that are not whole are read again into it. Gives
    /// the LSN of each; none of a page of zeros.
    pub(super) fn check_pages(
        &self,
        open: &Open,
        rules: &PageRules,
        offset: u64,
        part: &mut [u8],
        lsns: &mut Vec<Option<Lsn>>,
    ) -> Result<(), BackupError> {
        lsns.clear();
        let size = rules.page_size();
        for (index, page) in part.chunks_exact_mut(size).enumerate() {
            let at = index * size;
            let no = rules.page_at(offset + at as u64);
            let state = match rules.check(page, no) {
                Ok(state) => state,
                Err(error) => {
                    self.read_again(&open.file, rules, offset + at as u64, page, open.space, error)?
                }
            };
            match state {
                Some(lsn) => self.newest.see(lsn, open.file.path(), no, open.space),
                None => page.fill(0),
            }
            lsns.push(state);
        }
        Ok(())
    }

    fn read_again(
        &self,
        file: &DataFile,
        rules: &PageRules,
        offset: u64,
        page: &mut [u8],
        space: SpaceId,
        first: PageError,
    ) -> Result<Option<Lsn>, BackupError> {
        let (mut error, no) = (first, rules.page_at(offset));
        // Direct reads want whole blocks, and small pages share one.
        let start = offset - offset % reseed_io::BLOCK as u64;
        let skip = usize::try_from(offset - start).unwrap_or_default();
        let mut block = AlignedBuf::new(skip + page.len());
        for pause in REREADS {
            self.rules.cancel.sleep(Duration::from_millis(pause))?;
            self.counters.rereads.fetch_add(1, Ordering::Relaxed);
            let got = file.read_at(start, &mut block)?;
            let Some(again) = block.get(skip..skip + page.len()).filter(|_| got >= skip + page.len()) else {
                // Cut off under our hands: what is gone is zeros, and the inventory will know why.
                page.fill(0);
                return Ok(None);
            };
            page.copy_from_slice(again);
            match rules.check(page, no) {
                Ok(state) => return Ok(state),
                Err(again) => error = again,
            }
        }
        Err(BackupError::CorruptPage {
            file: file.path().to_path_buf(),
            page: no.0,
            space,
            tries: u32::try_from(REREADS.len() + 1).unwrap_or(u32::MAX),
            source: error,
        })
    }

    /// Reads what decides how the pages of a file are to be checked. `None`: bytes, not pages.
    pub(super) fn page_rules(&self, file: &DataFile, job: &Job) -> Result<Option<PageRules>, BackupError> {
        let found = &job.found;
        if !found.is_innodb() {
            return Ok(None);
        }
        let own = match found.kind {
            FoundKind::System { index: 1.. } => None,
            _ => self.identify(file, found)?,
        };
        let Some(format) = own.or(job.format) else { return Ok(None) };
        let mut rules = PageRules { format, first_page: job.first_page, blank: Vec::new() };
        if matches!(found.kind, FoundKind::System { index: 0 }) {
            let mut page = AlignedBuf::new(rules.page_size());
            let offset = TRX_SYS_PAGE * rules.format.physical().as_u64();
            let _ = file.read_at(offset, &mut page)?;
            let no = PageNo(u32::try_from(TRX_SYS_PAGE).unwrap_or_default());
            if let Err(error) = rules.check(&page, no) {
                self.read_again(file, &rules, offset, &mut page, SpaceId(0), error)?;
            }
            rules.blank = doublewrite_pages(&page, rules.format.physical());
        }
        Ok(Some(rules))
    }

    /// The format that page 0 tells; `None` while it is not written.
    fn identify(&self, file: &DataFile, found: &Found) -> Result<Option<SpaceFormat>, BackupError> {
        let mut head = AlignedBuf::new(PageSize::MAX.bytes());
        let mut last = None;
        for pause in REREADS {
            self.rules.cancel.sleep(Duration::from_millis(pause))?;
            let got = file.read_at(0, &mut head)?;
            let bytes = head.get(..got).unwrap_or_default();
            match identify_page0(bytes, self.rules.flavour) {
                Ok(Some(format)) => {
                    if encryption(bytes, &format).is_encrypted() {
                        let names = vec![found.path.display().to_string()];
                        return Err(BackupError::Refused {
                            server: self.rules.flavour.to_string(),
                            refusal: Refusal::EncryptedSpaces { names },
                        });
                    }
                    return Ok(Some(format));
                }
                Ok(None) => return Ok(None),
                // A file that is only just being made.
                Err(PageError::Length { .. }) if got < self.rules.page_size.bytes() => return Ok(None),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(source) => Err(BackupError::BadTablespace { file: found.real.clone(), source }),
            None => Ok(None),
        }
    }
}
