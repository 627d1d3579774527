//! XA transactions, on a table of their own: one that stays prepared keeps its row locks, and a replica may lock
//! more than the source did.

use std::time::Duration;

use anyhow::Result;

use super::{Outcome, Worker};
use crate::server::Server;

pub fn run(worker: &mut Worker) -> Result<()> {
    let mut number = 0u64;
    while !worker.stopped() {
        number += 1;
        one(worker, number)?;
        // These are cheap; without a pause they would be most of the load.
        std::thread::sleep(Duration::from_millis(4));
    }
    Ok(())
}

fn one(worker: &mut Worker, number: u64) -> Result<()> {
    let name = format!("'load-{}-{number}'", worker.stream);
    let (from, to) = (worker.random.below(100), worker.random.below(100));
    let words = worker.random.words(60);
    worker.plain(&format!("XA START {name}"))?;
    // Never empty: a prepared transaction without changes is treated otherwise by each version.
    let mut outcome =
        worker.attempt(&format!("INSERT INTO shop.t_audit (what, which) VALUES ('xa', {number})"))?;
    for (sign, id) in [('-', from), ('+', to)] {
        if outcome == Outcome::Done {
            let sql = format!(
                "UPDATE shop.x_accounts SET amount = amount {sign} 1, note = {words} WHERE id = {id}"
            );
            outcome = worker.attempt(&sql)?;
        }
    }
    worker.plain(&format!("XA END {name}"))?;
    if outcome == Outcome::Refused {
        return worker.plain(&format!("XA ROLLBACK {name}"));
    }
    match worker.random.below(6) {
        0 => worker.plain(&format!("XA COMMIT {name} ONE PHASE")),
        1 => worker.plain(&format!("XA ROLLBACK {name}")),
        2 => {
            worker.plain(&format!("XA PREPARE {name}"))?;
            worker.plain(&format!("XA ROLLBACK {name}"))
        }
        _ => {
            worker.plain(&format!("XA PREPARE {name}"))?;
            worker.plain(&format!("XA COMMIT {name}"))
        }
    }
}

/// Prepares transactions on rows that the load does not touch, and leaves them so.
pub fn leave_prepared(server: &Server, count: u32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for number in 0..count {
        let name = format!("left-{number}");
        // The session ends with the transaction prepared.
        server.sql(&[
            &format!("XA START '{name}'"),
            &format!("UPDATE shop.x_accounts SET amount = amount + 7 WHERE id = {}", 150 + number),
            &format!("XA END '{name}'"),
            &format!("XA PREPARE '{name}'"),
        ])?;
        names.push(name);
    }
    Ok(names)
}
