//! How the pages of one file are checked as they are read. Pure.

use std::ops::Range;

use reseed_innodb::{PageError, PageState, SpaceFormat, check_page};
use reseed_terms::{Flavour, Lsn, PageNo};

/// How the pages of one file are told apart.
#[derive(Debug, Clone)]
pub(crate) struct PageRules {
    pub format: SpaceFormat,
    /// Number of the file's first page: not 0 for the second and later files of the system tablespace.
    pub first_page: u32,
    /// Pages whose content is nobody's: the old doublewrite buffer. Stored as zeros.
    pub blank: Vec<Range<PageNo>>,
}

impl PageRules {
    pub fn page_size(&self) -> usize {
        self.format.physical().bytes()
    }

    pub fn page_at(&self, offset: u64) -> PageNo {
        let within = offset / self.format.physical().as_u64();
        PageNo(self.first_page.saturating_add(u32::try_from(within).unwrap_or(u32::MAX)))
    }

    /// Checks one page; `Ok(None)` is a page of zeros, or one to be stored as such.
    pub fn check(&self, page: &[u8], no: PageNo) -> Result<Option<Lsn>, PageError> {
        if self.blank.iter().any(|range| range.contains(&no)) {
            // MySQL has kept its doublewrite pages elsewhere since long: what is still marked as such is either junk of
            // a server before that or pages like any other.
            let kept = self.format.flavour() == Flavour::MySql;
            return Ok(match check_page(page, &self.format, no) {
                Ok(PageState::Valid { lsn }) if kept => Some(lsn),
                _ => None,
            });
        }
        Ok(match check_page(page, &self.format, no)? {
            PageState::Zero => None,
            PageState::Valid { lsn } => Some(lsn),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseed_innodb::PageSize;

    #[test]
    fn doublewrite_pages_are_not_looked_at() {
        let format = SpaceFormat::unknown(Flavour::MariaDb, PageSize::K16);
        let rules = PageRules { format, first_page: 0, blank: vec![PageNo(64)..PageNo(128)] };
        let garbage = vec![7u8; 16384];
        assert_eq!(rules.check(&garbage, PageNo(64)), Ok(None));
        assert!(rules.check(&garbage, PageNo(128)).is_err());
        assert_eq!(rules.check(&vec![0; 16384], PageNo(3)), Ok(None));
    }

    #[test]
    fn pages_of_the_second_system_file_go_on_counting() {
        let format = SpaceFormat::unknown(Flavour::MariaDb, PageSize::K16);
        let rules = PageRules { format, first_page: 768, blank: Vec::new() };
        assert_eq!(rules.page_at(0), PageNo(768));
        assert_eq!(rules.page_at(5 * 16384), PageNo(773));
    }
}
