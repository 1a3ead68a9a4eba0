//! The contract: messages, events and RPCs of every service, generated from the `.proto` files
//! beside this crate. Nothing here decides anything; validation lives at each service's edge.

/// One RPC and what it demands of its caller.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// The gRPC path, `/package.Service/Method`.
    pub path: &'static str,
    /// The permission, `<service>.read`, `<service>.write` or `internal`.
    pub permission: &'static str,
    /// The least role, as the number of `itsm.common.v1.Role`.
    pub role: i32,
    /// Whether the answer is a stream.
    pub server_streaming: bool,
}

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The compiled contract, for REST, OpenAPI and tests.
pub static DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The names of the services that own data, in the order in which they may start.
pub const SERVICES: [&str; 7] = ["directory", "catalog", "alert", "incident", "change", "sla", "notification"];

macro_rules! package {
    ($name:ident, $package:literal) => {
        #[doc = concat!("`", $package, "`.")]
        pub mod $name {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(common, "itsm.common.v1");
package!(directory, "itsm.directory.v1");
package!(catalog, "itsm.catalog.v1");
package!(alert, "itsm.alert.v1");
package!(incident, "itsm.incident.v1");
package!(change, "itsm.change.v1");
package!(sla, "itsm.sla.v1");
package!(notification, "itsm.notification.v1");
