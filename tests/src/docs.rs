//! Documents whose commands are executed. A document's code blocks are run as they are printed, on a [`Stage`] of
//! real servers; what cannot be run says so in the document's source. There is no third kind of block.
//!
//! A block is of the language that its fence names:
//!
//! | fence | run as |
//! |---|---|
//! | `sh` | a script of `sh -eu` on a host of the stage, in the host's own folder |
//! | `sql` | the input of the server's own client on that host |
//! | `crontab` | the command of each line, in its order |
//! | any, with `file PATH` | written to that path |
//!
//! More is said by an HTML comment right before the block, `<!-- test: CLAUSE; CLAUSE -->`:
//!
//! | clause | meaning |
//! |---|---|
//! | `on HOST` | the host; the stage's first one otherwise |
//! | `only mariadb`, `only mysql` | left out where the stage has the other family |
//! | `exit N` | the code that it ends with; 0 otherwise |
//! | `file PATH` | see above |
//! | `not run: REASON` | the last clause: for what a test cannot have, such as a managed server |

use std::fs;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::host::{Host, Ran};
use crate::layout::{self, Family};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Shell,
    Sql,
    Crontab,
    File(String),
    NotRun(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where it stands: `docs/x.md:12`.
    pub at: String,
    pub kind: Kind,
    pub text: String,
    pub host: Option<String>,
    pub only: Option<Family>,
    pub exit: i32,
}

#[derive(Debug)]
pub struct Document {
    pub name: String,
    pub blocks: Vec<Block>,
}

impl Document {
    /// Reads a document of the project; the path is relative to its root.
    ///
    /// # Errors
    /// When one of its blocks can neither be run nor says why not.
    pub fn read(path: &str) -> Result<Document> {
        let text = fs::read_to_string(layout::root().join(path)).with_context(|| path.to_owned())?;
        Document::parse(path, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Document> {
        let mut blocks = Vec::new();
        let mut comment: Option<String> = None;
        let mut html = String::new();
        let mut open: Option<(String, Range<usize>, String)> = None;
        for (event, range) in Parser::new(text).into_offset_iter() {
            match event {
                Event::Start(Tag::HtmlBlock) => html.clear(),
                Event::Html(piece) | Event::InlineHtml(piece) => html.push_str(&piece),
                Event::End(TagEnd::HtmlBlock) => comment = clauses(&html),
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(info) => {
                            info.split_whitespace().next().unwrap_or_default().to_owned()
                        }
                        CodeBlockKind::Indented => String::new(),
                    };
                    open = Some((language, range, String::new()));
                }
                Event::Text(piece) => match &mut open {
                    Some((_, _, content)) => content.push_str(&piece),
                    None => comment = None,
                },
                Event::End(TagEnd::CodeBlock) => {
                    let (language, range, content) = open.take().context("a block that did not begin")?;
                    let line = text.get(..range.start).unwrap_or_default().lines().count() + 1;
                    let at = format!("{name}:{line}");
                    let block = Block::new(at.clone(), &language, content, comment.take().as_deref());
                    blocks.push(block.with_context(|| at)?);
                }
                _ => {}
            }
        }
        Ok(Document { name: name.to_owned(), blocks })
    }
}

/// What a comment says to us.
fn clauses(html: &str) -> Option<String> {
    let inner = html.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    Some(inner.strip_prefix("test:")?.trim().to_owned())
}

impl Block {
    fn new(at: String, language: &str, text: String, clauses: Option<&str>) -> Result<Block> {
        let mut block = Block { at, kind: Kind::Shell, text, host: None, only: None, exit: 0 };
        let mut kind = match language {
            "sh" => Some(Kind::Shell),
            "sql" => Some(Kind::Sql),
            "crontab" => Some(Kind::Crontab),
            _ => None,
        };
        let mut rest = clauses.unwrap_or_default();
        while !rest.is_empty() {
            if let Some(reason) = rest.strip_prefix("not run:") {
                ensure!(!reason.trim().is_empty(), "`not run` without a reason");
                kind = Some(Kind::NotRun(reason.trim().to_owned()));
                break;
            }
            let (clause, after) = rest.split_once(';').unwrap_or((rest, ""));
            rest = after.trim();
            match clause.trim().split_once(' ') {
                Some(("on", host)) => block.host = Some(host.to_owned()),
                Some(("only", "mariadb")) => block.only = Some(Family::MariaDb),
                Some(("only", "mysql")) => block.only = Some(Family::MySql),
                Some(("exit", code)) => block.exit = code.parse().context("the code after `exit`")?,
                Some(("file", path)) => kind = Some(Kind::File(path.to_owned())),
                _ => bail!("no clause is called {clause:?}"),
            }
        }
        block.kind = kind.with_context(|| {
            format!("a block of language {language:?} that is not run and does not say why (see tests/src/docs.rs)")
        })?;
        Ok(block)
    }
}

/// Hosts with real servers, on which a document's commands run.
#[derive(Debug)]
pub struct Stage {
    hosts: Vec<Host>,
}

impl Stage {
    /// The first host is the one where blocks run that name none.
    pub fn new(hosts: Vec<Host>) -> Stage {
        Stage { hosts }
    }

    pub fn host(&self, name: &str) -> Result<&Host> {
        let known = || self.hosts.iter().map(|host| host.name()).collect::<Vec<_>>().join(", ");
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.with_context(|| format!("no host of the stage is called {name}; there are {}", known()))
    }

    /// Runs all blocks of a document; what each of them printed comes back.
    pub fn play(&self, document: &Document) -> Result<Vec<(Block, Ran)>> {
        self.play_between(document, |_, _| Ok(()))
    }

    /// The same, with something done before each block: what the night did, and not the administrator.
    pub fn play_between(
        &self,
        document: &Document,
        mut before: impl FnMut(usize, &Block) -> Result<()>,
    ) -> Result<Vec<(Block, Ran)>> {
        let mut done = Vec::new();
        for (number, block) in document.blocks.iter().enumerate() {
            before(number, block)?;
            if let Some(ran) = self.run(block).with_context(|| block.at.clone())? {
                done.push((block.clone(), ran));
            }
        }
        ensure!(!done.is_empty(), "no block of {} was run", document.name);
        Ok(done)
    }

    /// Runs one block; `None` where it is not to be run here.
    pub fn run(&self, block: &Block) -> Result<Option<Ran>> {
        let host = match &block.host {
            Some(name) => self.host(name)?,
            None => self.hosts.first().context("a stage without a host")?,
        };
        if block.only.is_some_and(|only| only != host.family()) {
            return Ok(None);
        }
        let text = host.table().apply(&block.text)?;
        let ran = match &block.kind {
            Kind::NotRun(_) => return Ok(None),
            Kind::File(path) => {
                host.write(&host.table().apply(path)?, &text)?;
                return Ok(Some(Ran::default()));
            }
            Kind::Shell => host.sh(&text)?,
            Kind::Crontab => host.sh(&commands_of(&text)?)?,
            Kind::Sql => host.sql(&text)?,
        };
        if ran.code != Some(block.exit) {
            let Ran { code, stdout, stderr } = &ran;
            bail!(
                "ended with {code:?} instead of {} on {}\n{text}\nstdout:\n{stdout}\nstderr:\n{stderr}",
                block.exit,
                host.name()
            );
        }
        Ok(Some(ran))
    }
}

/// The commands of lines as in /etc/crontab: five fields of time, a user, a command.
fn commands_of(crontab: &str) -> Result<String> {
    let mut commands = String::new();
    for line in crontab.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut rest = line;
        for _ in 0..6 {
            rest = rest.split_once(char::is_whitespace).context("a crontab line without a command")?.1;
            rest = rest.trim_start();
        }
        commands.push_str(&format!("{rest}\n"));
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_run_or_says_why_not() {
        let text = "a\n\n<!-- test: on source; exit 14 -->\n```sh\nreseed x\n```\n\n1. b\n\n   ```sql\n   SELECT 1;\n   ```\n\n\
                    <!-- test: not run: it is far; away -->\n```text\nz\n```\n";
        let document = Document::parse("x.md", text).unwrap();
        let [first, second, third] = &document.blocks[..] else { panic!("{document:?}") };
        assert_eq!((first.at.as_str(), first.host.as_deref(), first.exit), ("x.md:4", Some("source"), 14));
        assert_eq!((&second.kind, second.text.as_str()), (&Kind::Sql, "SELECT 1;\n"));
        assert_eq!(third.kind, Kind::NotRun("it is far; away".to_owned()));
    }

    #[test]
    fn a_block_that_is_neither_is_found() {
        for text in [
            "a\n\n    indented\n",
            "```text\nx\n```\n",
            "```\nx\n```\n",
            "<!-- test: not run: -->\n```text\nx\n```\n",
            "<!-- test: nonsense -->\n```sh\nx\n```\n",
            // A comment counts for the block right after it only.
            "<!-- test: not run: y -->\nwords\n\n```text\nx\n```\n",
        ] {
            assert!(Document::parse("x.md", text).is_err(), "{text}");
        }
    }

    #[test]
    fn crontab_lines_end_in_commands() {
        assert_eq!(commands_of("# c\n0 * * * *  root reseed backup  --x\n").unwrap(), "reseed backup  --x\n");
        assert!(commands_of("0 * * *").is_err());
    }
}
