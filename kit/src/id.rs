//! Ids: bare UUIDv7 on the wire and in SQL, a type of its own for each kind of record in code.

use uuid::Uuid;

/// Draws a new id. Ids take their time from the machine's clock, also in stories, because the
/// journal's partitions are cut by it.
#[must_use]
pub fn draw() -> Uuid {
    #[expect(clippy::disallowed_methods, reason = "the one place where ids are drawn")]
    Uuid::now_v7()
}

/// Declares an id type.
#[macro_export]
macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub ::uuid::Uuid);

        impl $name {
            /// Draws a new id; for use cases, never for the domain.
            #[must_use]
            pub fn draw() -> Self {
                Self($crate::id::draw())
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<::uuid::Uuid> for $name {
            fn from(id: ::uuid::Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for ::uuid::Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// A tenant.
    TenantId
);
id!(
    /// A person or service account.
    PersonId
);
id!(
    /// A team.
    TeamId
);
id!(
    /// A business or technical service of the catalog.
    ServiceId
);
id!(
    /// A configuration item.
    CiId
);
id!(
    /// An alert.
    AlertId
);
id!(
    /// An incident.
    IncidentId
);

/// A tenant by id and by the slug that subjects carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// The id.
    pub id: TenantId,
    /// The slug, `[a-z0-9-]{1,40}`.
    pub slug: String,
}
