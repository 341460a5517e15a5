//! What is wrong with a version that is to be published, all of it, each where it stands.

use std::collections::{BTreeMap, BTreeSet};

use fluent_syntax::ast;
use tidings_domain::notification::Words;
use tidings_domain::recipient::Locale;
use tidings_domain::template::Version;

use super::part::Part;
use super::read::{Flaw, parse, unmarked};
use super::reading::{Name, Reading, Uses};
use super::{Compiled, functions, scope};

impl Compiled {
    /// Of what is to be published, or may be. Fails with all that is wrong.
    pub fn checked(version: Version) -> Result<Self, Vec<Flaw>> {
        let flaws = check(&version);
        if flaws.is_empty() { Self::new(version) } else { Err(flaws) }
    }
}

fn check(version: &Version) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut said: BTreeMap<&Locale, BTreeSet<String>> = BTreeMap::new();
    for (locale, source) in &version.sources {
        let source = unmarked(source);
        match parse(locale, source) {
            Ok(resource) => {
                let reading = Reading::of(&resource);
                let found = Faults::of(&reading, version, source);
                flaws.extend(found.into_iter().map(|(byte, words)| Flaw::at(locale, source, byte, words)));
                said.insert(locale, reading.messages().map(str::to_owned).collect());
            }
            Err(more) => flaws.extend(more),
        }
    }
    let parts = |ids: &BTreeSet<String>| -> Vec<&'static str> {
        Part::ALL.iter().map(|part| part.id()).filter(|id| ids.contains(*id)).collect()
    };
    if let Some(default) = said.get(&version.default_locale) {
        for (locale, ids) in &said {
            let missing = parts(default).into_iter().filter(|id| !ids.contains(*id));
            flaws.extend(missing.map(|id| {
                Flaw::at(locale, "", 0, format!("`{id}` is missing, which the default locale has"))
            }));
        }
        for part in Part::REQUIRED.iter().filter(|part| !default.contains(part.id())) {
            let words = format!("`{}` is missing: every template has one", part.id());
            flaws.push(Flaw::at(&version.default_locale, "", 0, words));
        }
    }
    flaws
}

/// Places that Fluent fills at most for one message; what would come after them is left out.
const PLACES_MAX: usize = 100;

/// What is wrong in one source: in the order in which it stands there, and once however often it is come by.
struct Faults<'v, 's> {
    version: &'v Version,
    source: &'s str,
    found: BTreeSet<(usize, String)>,
}

impl<'s> Faults<'_, 's> {
    fn of(reading: &Reading<'_, 's>, version: &Version, source: &'s str) -> BTreeSet<(usize, String)> {
        let mut faults = Faults { version, source, found: BTreeSet::new() };
        for id in &reading.twice {
            faults.add(id, format!("`{id}` is said twice"));
        }
        for (name, node) in &reading.nodes {
            faults.uses(reading, *name, &node.uses);
            if name.is_term {
                continue;
            }
            if !reading.has_end(*name) {
                if reading.is_endless(*name) {
                    faults.add(node.at, format!("`{name}` contains itself"));
                }
            } else if reading.has_more_places(*name, PLACES_MAX) {
                let words = "places, those of what it refers to among them";
                faults.add(node.at, format!("`{name}` has more than {PLACES_MAX} {words}"));
            } else {
                for (at, words) in scope::flaws(reading, node.pattern, &version.arguments) {
                    faults.add(at, words);
                }
            }
            if name.id == Part::ActionUrl.id() && name.attribute.is_none() {
                faults.action_url(node.at, node.pattern);
            }
        }
        faults.found
    }

    /// `at` is a slice of the source: that is where it stands, with the `$` or the `-` before it.
    fn add(&mut self, at: &'s str, words: String) {
        let byte = at.as_ptr().addr() - self.source.as_ptr().addr();
        let before = self.source.get(..byte).unwrap_or_default();
        let mark = usize::from(before.ends_with(['$', '-']));
        self.found.insert((byte - mark, words));
    }

    fn uses(&mut self, reading: &Reading<'_, 's>, name: Name<'s>, uses: &Uses<'_, 's>) {
        for variable in &uses.variables {
            // A term has none of the template's arguments.
            if !name.is_term && !self.version.arguments.contains_key(*variable) {
                self.add(variable, format!("`${variable}` is no argument of this template"));
            }
        }
        for (name, arguments) in &uses.calls {
            for (at, words) in functions::flaws(name, arguments) {
                self.add(at, words);
            }
        }
        for (to, at) in &uses.references {
            if !reading.nodes.contains_key(to) {
                let words = format!("there is no `{to}`");
                self.add(at, words);
            }
        }
        for at in &uses.unnamed {
            self.add(at, format!("`-{at}` takes arguments by name: `-{at}(name: \"value\")`"));
        }
        for key in uses.keys.iter().filter(|key| key.contains('.')) {
            self.add(key, format!("`[{key}]` must be whole: it never matches"));
        }
    }

    /// One that is the same for everybody is none for everybody, if it is none.
    fn action_url(&mut self, id: &'s str, pattern: &ast::Pattern<&'s str>) {
        let text: Option<String> = pattern
            .elements
            .iter()
            .map(|element| match element {
                ast::PatternElement::TextElement { value } => Some(*value),
                ast::PatternElement::Placeable { .. } => None,
            })
            .collect();
        if let Some(Err(words)) = text.map(|text| Words::check_action_url(&text)) {
            self.add(id, format!("`action-url` {words}"));
        }
    }
}
