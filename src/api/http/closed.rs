//! Requests are closed: a parameter that the document does not name for an operation is refused by its name, so
//! that a misspelt filter does not read as none.

use std::sync::LazyLock;

use poem::http::Method;
use poem::{PathPattern, Request};
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaApi, MetaParamIn};

use super::parameter::query_pairs;
use super::problem::{Kind, Problem};

/// An operation, and the parameters of its query.
struct Operation {
    method: Method,
    path: String,
    query: Vec<String>,
}

/// As the document has them, which never changes while the process runs.
static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| operations(crate::api::Apis::meta()));

fn operations(apis: Vec<MetaApi>) -> Vec<Operation> {
    let paths = apis.into_iter().flat_map(|api| api.paths);
    let operations = paths.flat_map(|path| {
        path.operations.into_iter().map(move |operation| {
            let query = operation.params.into_iter().filter(|param| param.in_type == MetaParamIn::Query);
            let query = query.map(|param| param.name).collect();
            Operation { method: operation.method, path: shape(&path.path), query }
        })
    });
    operations.collect()
}

/// A path without the names of its parameters, which the document writes `{id}` and the router `:param0`.
fn shape(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with(['{', ':']) { "*" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// The methods of the operations at this path; none where it is no operation's.
pub fn methods(path: &str) -> Vec<&'static str> {
    let fits = |known: &str, given: &str| known == "*" || known == given;
    let at = |known: &&Operation| {
        known.path.split('/').count() == path.split('/').count()
            && known.path.split('/').zip(path.split('/')).all(|(known, given)| fits(known, given))
    };
    let found: Vec<&Operation> = OPERATIONS.iter().filter(at).collect();
    // The router prefers a path that says more.
    let exact = found.iter().any(|known| known.path == path);
    found
        .into_iter()
        .filter(|known| !exact || known.path == path)
        .map(|known| known.method.as_str())
        .collect()
}

/// Refuses what the operation that the request was routed to does not know.
pub fn check(request: &Request) -> Result<(), Problem> {
    if request.uri().query().is_none_or(str::is_empty) {
        return Ok(());
    }
    let Some(pattern) = request.data::<PathPattern>() else { return Ok(()) };
    let path = shape(&pattern.0);
    let mut operations = OPERATIONS.iter();
    let known = operations.find(|known| known.method == request.method() && known.path == path);
    check_names(request, known.map_or(&[][..], |operation| &operation.query))
}

/// Refuses what is none of these.
pub fn check_names<N: AsRef<str>>(request: &Request, names: &[N]) -> Result<(), Problem> {
    let given = query_pairs(request)?;
    match given.into_iter().find(|(name, _)| !names.iter().any(|known| known.as_ref() == name)) {
        None => Ok(()),
        Some((name, _)) => Err(Problem::at(Kind::Malformed, name, "is no parameter of this operation")),
    }
}
