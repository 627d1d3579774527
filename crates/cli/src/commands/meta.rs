//! Commands about the program itself: completions, man pages, the reference.

use std::path::Path;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs, ReferenceArgs, ReferencePage};
use crate::exit::{self, Outcome};
use crate::failure::Failure;
use crate::{config, man, out, reference};

pub fn completions(args: &CompletionsArgs) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "reseed", &mut script);
    out::bytes(&script)?;
    Ok(Outcome::Done)
}

pub fn man(args: &ManArgs) -> Result<Outcome, Failure> {
    match &args.dir {
        Some(dir) => all_pages(dir)?,
        None => {
            let page = man::pages()
                .into_iter()
                .find(|page| page.topic == args.topic)
                .ok_or_else(|| Failure::new(Outcome::Usage, "there is no such page"))?;
            out::text(page.text)?;
        }
    }
    Ok(Outcome::Done)
}

fn all_pages(dir: &Path) -> Result<(), Failure> {
    for page in man::pages() {
        let path = dir.join(&page.file_name);
        std::fs::write(&path, page.text).map_err(|error| {
            Failure::new(Outcome::Failed, format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

pub fn reference(args: &ReferenceArgs) -> Result<Outcome, Failure> {
    out::text(match args.page {
        ReferencePage::Options => reference::options(),
        ReferencePage::ExitCodes => exit::documentation(),
        ReferencePage::Config => config::example(&config::root()),
        ReferencePage::Keys => config::reference(&config::root()),
    })?;
    Ok(Outcome::Done)
}
