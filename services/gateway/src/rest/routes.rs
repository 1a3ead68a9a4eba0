//! The route table: which RPC a verb and a path mean, read from the `google.api.http` options of
//! the contract. It holds no route of its own, so that a new RPC appears by being declared. RPCs of
//! services named `Internal` are never in it.

use std::collections::{BTreeSet, HashMap};

use http::Method;
use percent_encoding::percent_decode_str;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MethodDescriptor};

/// Why the contract cannot be served; found when the gateway starts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiled contract does not decode.
    #[error("the contract does not decode: {0}")]
    Contract(#[from] prost_reflect::DescriptorError),
    /// A path template uses a form that is not served.
    #[error("{rpc}: the path `{template}` cannot be served: {reason}")]
    Template {
        /// The RPC.
        rpc: String,
        /// Its template.
        template: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The rule names a field that the request does not have.
    #[error("{rpc}: the request has no field `{field}`")]
    Field {
        /// The RPC.
        rpc: String,
        /// The field.
        field: String,
    },
    /// Two RPCs claim the same verb and path.
    #[error("{rpc}: {method} {template} is taken already")]
    Taken {
        /// The RPC.
        rpc: String,
        /// The verb.
        method: Method,
        /// The template.
        template: String,
    },
}

/// Which part of the request message the body is.
#[derive(Debug, Clone)]
pub enum BodyRule {
    /// There is none; what is not in the path comes by the query.
    None,
    /// Every field that is not in the path.
    Whole,
    /// One field; the others come by the query.
    Field(FieldDescriptor),
}

/// One part of a path between slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text.
    Literal(String),
    /// Any text, bound to a field path such as `incident.id`.
    Variable(Vec<String>),
}

/// One way to reach one RPC.
#[derive(Debug, Clone)]
pub struct Route {
    /// The HTTP verb.
    pub method: Method,
    /// The template as declared.
    pub template: String,
    /// The template in parts.
    pub segments: Vec<Segment>,
    /// The custom verb after the colon.
    pub verb: Option<String>,
    /// Which part of the request the body is.
    pub body: BodyRule,
    /// The RPC.
    pub rpc: MethodDescriptor,
}

impl Route {
    /// The gRPC path, `/package.Service/Method`.
    pub fn grpc_path(&self) -> String {
        format!("/{}/{}", self.rpc.parent_service().full_name(), self.rpc.name())
    }

    /// The service that owns the RPC, such as `incident`.
    pub fn service(&self) -> &str {
        owner(self.rpc.parent_service().full_name()).unwrap_or_default()
    }

    /// The fields that the path binds, with the text bound to each.
    fn capture(&self, parts: &[String]) -> Option<Vec<(Vec<String>, String)>> {
        let mut bound = Vec::new();
        for (segment, part) in self.segments.iter().zip(parts) {
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Variable(field) if !part.is_empty() => bound.push((field.clone(), part.clone())),
                Segment::Literal(_) | Segment::Variable(_) => return None,
            }
        }
        Some(bound)
    }
}

/// The service in a full name: `incident` of `itsm.incident.v1.IncidentService`.
pub fn owner(full_name: &str) -> Option<&str> {
    let mut parts = full_name.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("itsm"), Some(service), Some("v1"), Some(_), None) => Some(service),
        _ => None,
    }
}

/// What a verb and a path mean.
#[derive(Debug)]
pub enum Found<'a> {
    /// This RPC, with the fields that the path binds.
    Route(&'a Route, Vec<(Vec<String>, String)>),
    /// The path exists, the verb does not; these do.
    OtherMethods(Vec<Method>),
    /// Nothing.
    Nothing,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shape {
    segments: usize,
    verb: Option<String>,
}

/// Every route of the contract.
#[derive(Debug)]
pub struct Table {
    by_shape: HashMap<Shape, Vec<Route>>,
}

impl Table {
    /// Reads the table from the contract.
    pub fn read(pool: &DescriptorPool) -> Result<Self, Error> {
        let mut by_shape: HashMap<Shape, Vec<Route>> = HashMap::new();
        let mut taken = BTreeSet::new();
        let Some(option) = pool.get_extension_by_name("google.api.http") else {
            return Ok(Self { by_shape });
        };
        for route in routes(pool, &option)? {
            if !taken.insert((route.method.to_string(), anonymous(&route))) {
                return Err(Error::Taken { rpc: route.grpc_path(), method: route.method, template: route.template });
            }
            let shape = Shape { segments: route.segments.len(), verb: route.verb.clone() };
            by_shape.entry(shape).or_default().push(route);
        }
        for routes in by_shape.values_mut() {
            // A literal wins over a variable at the same place.
            routes.sort_by_key(|r| r.segments.iter().map(|s| matches!(s, Segment::Variable(_))).collect::<Vec<_>>());
        }
        Ok(Self { by_shape })
    }

    /// Every route, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_shape.values().flatten()
    }

    /// Finds the RPC that a verb and a raw path mean.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Some((parts, verb)) = split(path) else { return Found::Nothing };
        let Some(routes) = self.by_shape.get(&Shape { segments: parts.len(), verb }) else { return Found::Nothing };
        let mut others = Vec::new();
        for route in routes {
            let Some(bound) = route.capture(&parts) else { continue };
            if route.method == *method {
                return Found::Route(route, bound);
            }
            others.push(route.method.clone());
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }
}

/// Splits a raw path into decoded parts and the custom verb. The verb is split off before decoding,
/// so that `%3A` in an id is no verb.
fn split(path: &str) -> Option<(Vec<String>, Option<String>)> {
    let mut raw: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let last = raw.pop()?;
    let (last, verb) = match last.rsplit_once(':') {
        Some((last, verb)) => (last, Some(verb.to_owned())),
        None => (last, None),
    };
    raw.push(last);
    let decode = |part: &&str| percent_decode_str(part).decode_utf8().ok().map(|text| text.into_owned());
    let parts = raw.iter().map(decode).collect::<Option<Vec<_>>>()?;
    Some((parts, verb))
}

/// The template without the names of its variables, to see that no two are the same.
fn anonymous(route: &Route) -> String {
    let mut text = String::new();
    for segment in &route.segments {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            Segment::Variable(_) => text.push_str("{}"),
        }
    }
    if let Some(verb) = &route.verb {
        text.push(':');
        text.push_str(verb);
    }
    text
}

fn routes(pool: &DescriptorPool, option: &ExtensionDescriptor) -> Result<Vec<Route>, Error> {
    let mut all = Vec::new();
    for service in pool.services().filter(|s| s.name() != "Internal" && owner(s.full_name()).is_some()) {
        for rpc in service.methods() {
            let options = rpc.options();
            if !options.has_extension(option) {
                continue;
            }
            let value = options.get_extension(option);
            let Some(rule) = value.as_message() else { continue };
            all.extend(route(&rpc, rule)?);
            let more = rule.get_field_by_name("additional_bindings");
            for rule in more.as_deref().and_then(|list| list.as_list()).unwrap_or_default() {
                if let Some(rule) = rule.as_message() {
                    all.extend(route(&rpc, rule)?);
                }
            }
        }
    }
    Ok(all)
}

fn route(rpc: &MethodDescriptor, rule: &DynamicMessage) -> Result<Option<Route>, Error> {
    let text = |name: &str| {
        rule.has_field_by_name(name)
            .then(|| rule.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned)))
            .flatten()
    };
    let methods = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let Some((method, template)) = methods.into_iter().find_map(|(name, m)| Some((m, text(name)?))) else {
        return Ok(None);
    };
    let name = rpc.full_name().to_owned();
    let (segments, verb) =
        parse(&template).map_err(|reason| Error::Template { rpc: name.clone(), template: template.clone(), reason })?;
    for segment in &segments {
        if let Segment::Variable(path) = segment {
            check_field(rpc, path)?;
        }
    }
    let body = match text("body").as_deref() {
        None | Some("") => BodyRule::None,
        Some("*") => BodyRule::Whole,
        Some(field) => match rpc.input().get_field_by_name(field) {
            Some(field) => BodyRule::Field(field),
            None => return Err(Error::Field { rpc: name, field: field.to_owned() }),
        },
    };
    Ok(Some(Route { method, template, segments, verb, body, rpc: rpc.clone() }))
}

fn parse(template: &str) -> Result<(Vec<Segment>, Option<String>), &'static str> {
    let path = template.strip_prefix('/').ok_or("it does not begin with a slash")?;
    // A colon inside braces would belong to a variable; the contract has none.
    let (path, verb) = match path.rsplit_once(':') {
        Some((path, verb)) if !verb.contains('}') => (path, Some(verb.to_owned())),
        Some(_) => return Err("a variable holds a colon"),
        None => (path, None),
    };
    let mut segments = Vec::new();
    for part in path.split('/') {
        let segment = match part.strip_prefix('{') {
            Some(rest) => {
                let name = rest.strip_suffix('}').ok_or("a variable is not closed")?;
                if name.contains(['=', '*', '{', '}']) {
                    return Err("a variable spans more than one segment");
                }
                Segment::Variable(name.split('.').map(str::to_owned).collect())
            }
            None if part.is_empty() || part.contains(['{', '}', '*']) => return Err("a segment is not plain text"),
            None => Segment::Literal(part.to_owned()),
        };
        segments.push(segment);
    }
    Ok((segments, verb))
}

fn check_field(rpc: &MethodDescriptor, path: &[String]) -> Result<(), Error> {
    let missing = || Error::Field { rpc: rpc.full_name().to_owned(), field: path.join(".") };
    let mut message = rpc.input();
    for (depth, name) in path.iter().enumerate() {
        let field = message.get_field_by_name(name).ok_or_else(missing)?;
        let last = depth + 1 == path.len();
        match field.kind() {
            Kind::Message(inner) if !last && !field.is_list() => message = inner,
            Kind::Message(_) => return Err(missing()),
            _ if last && !field.is_list() => {}
            _ => return Err(missing()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::read(&DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap()).unwrap()
    }

    fn rpc(method: Method, path: &str) -> (String, Vec<(String, String)>) {
        match table().find(&method, path) {
            Found::Route(route, bound) => {
                (route.rpc.name().to_owned(), bound.into_iter().map(|(f, v)| (f.join("."), v)).collect())
            }
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    #[test]
    fn plain_custom_and_nested_paths_find_their_rpc() {
        let id = |field: &str, value: &str| vec![(field.to_owned(), value.to_owned())];
        assert_eq!(rpc(Method::GET, "/v1/incidents"), ("ListIncidents".into(), vec![]));
        assert_eq!(rpc(Method::POST, "/v1/incidents"), ("CreateIncident".into(), vec![]));
        assert_eq!(rpc(Method::GET, "/v1/incidents/INC7"), ("GetIncident".into(), id("id", "INC7")));
        assert_eq!(rpc(Method::PATCH, "/v1/incidents/a"), ("UpdateIncident".into(), id("incident.id", "a")));
        assert_eq!(rpc(Method::POST, "/v1/incidents/a:resolve"), ("ResolveIncident".into(), id("id", "a")));
        assert_eq!(rpc(Method::GET, "/v1/incidents:watch"), ("WatchIncidents".into(), vec![]));
        assert_eq!(rpc(Method::GET, "/v1/incidents/a/events"), ("ListIncidentEvents".into(), id("id", "a")));
    }

    #[test]
    fn an_encoded_colon_is_part_of_the_id() {
        assert_eq!(rpc(Method::GET, "/v1/incidents/a%3Ab").1[0].1, "a:b");
        assert!(matches!(table().find(&Method::GET, "/v1/incidents/a:b"), Found::Nothing));
    }

    #[test]
    fn what_is_not_declared_is_not_found() {
        let table = table();
        for path in ["/", "", "/v1", "/v1/incidents/", "/v1/incidents/a/b/c", "/v1/incidents/%ff", "/v1/nothing"] {
            assert!(matches!(table.find(&Method::GET, path), Found::Nothing), "{path}");
        }
        match table.find(&Method::DELETE, "/v1/incidents/a") {
            Found::OtherMethods(methods) => assert!(methods.contains(&Method::GET) && methods.contains(&Method::PATCH)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_public_rpc_has_a_route_and_no_internal_one_has() {
        let table = table();
        let routed: BTreeSet<String> = table.iter().map(Route::grpc_path).collect();
        for method in proto::METHODS {
            let internal = method.path.contains(".Internal/");
            assert_eq!(routed.contains(method.path), !internal, "{}", method.path);
        }
        assert!(routed.len() > 80, "{}", routed.len());
    }

    #[test]
    fn templates_that_cannot_be_served_are_refused() {
        for template in ["v1/a", "/v1/{a=b/*}", "/v1/{a", "/v1/*", "/v1//a", "/v1/{a:b}"] {
            assert!(parse(template).is_err(), "{template}");
        }
    }
}
