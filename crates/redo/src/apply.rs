use reseed_innodb::{PageSize, SpaceFormat};
use reseed_terms::{PageId, RedoFormat};

use crate::mariadb::MariadbApplier;
use crate::mysql::MysqlApplier;
use crate::{Applied, Change, RedoError};

/// Applies changes to page images. Holds scratch memory only, so each thread has one of its own.
#[derive(Debug)]
pub enum Applier {
    Mariadb(MariadbApplier),
    Mysql(Box<MysqlApplier>),
}

impl Applier {
    /// `page_size` is the server's (`innodb_page_size`).
    pub fn new(format: RedoFormat, page_size: PageSize) -> Applier {
        match format {
            RedoFormat::MariadbRing | RedoFormat::MariadbBlocks => Applier::Mariadb(MariadbApplier::new()),
            RedoFormat::MysqlBlocks => Applier::Mysql(Box::new(MysqlApplier::new(page_size))),
        }
    }

    /// Applies `changes`, in log order, to `page`: the expanded image, of the tablespace's physical page size. A
    /// change that the page already has, going by its LSN, is skipped. The page's LSN and checksum are left for
    /// `innodb::seal_page`, which wants the `lsn` returned.
    ///
    /// # Errors
    /// When a change does not fit the page; the page is then of no use.
    pub fn apply<'a>(
        &mut self,
        id: PageId,
        space: &SpaceFormat,
        page: &mut [u8],
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<Applied, RedoError> {
        match self {
            Applier::Mariadb(applier) => applier.apply(id, space, page, changes),
            Applier::Mysql(applier) => {
                let zip = space.is_zip().then(|| space.physical());
                let changes =
                    changes.into_iter().map(|change| (change.start, change.end, change.kind, change.bytes));
                let done = applier.apply(id, zip, page, changes)?;
                Ok(Applied { count: done.count, skipped: done.skipped, lsn: done.lsn, freed: false })
            }
        }
    }
}
