//! Compiles the contract with protox, so that no protoc is needed, and derives from it what must
//! never drift: the descriptor set and the table of what each RPC demands of its caller.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, Value};

const SERVICES: [&str; 7] = ["directory", "catalog", "alert", "incident", "change", "sla", "notification"];

fn main() -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script its folder by a variable")]
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = vec!["itsm/common/v1/internal.proto".to_owned()];
    for service in SERVICES {
        files.push(format!("itsm/{service}/v1/service.proto"));
    }
    println!("cargo:rerun-if-changed=itsm");
    println!("cargo:rerun-if-changed=google");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let bytes = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptor.bin"), &bytes)?;

    let pool = DescriptorPool::decode(bytes.as_slice())?;
    fs::write(out.join("methods.rs"), methods(&pool)?)?;

    tonic_prost_build::configure().bytes(".itsm.common.v1").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The static table of every RPC with its permission and least role.
fn methods(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let access = pool.get_extension_by_name("itsm.common.v1.access").ok_or("no access option")?;
    let mut text = String::from(
        "/// Every RPC with what it demands of its caller, by path.\npub static METHODS: &[Method] = &[\n",
    );
    for service in pool.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let options = method.options();
            let value = options.get_extension(&access);
            let Value::Message(access) = value.as_ref() else { return Err(format!("{path}: no access").into()) };
            let permission =
                access.get_field_by_name("permission").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            let role = access.get_field_by_name("role").and_then(|v| v.as_enum_number()).unwrap_or_default();
            if permission.is_empty() || role == 0 {
                return Err(format!("{path} declares no permission or no role").into());
            }
            writeln!(
                text,
                "    Method {{ path: {path:?}, permission: {permission:?}, role: {role}, server_streaming: {} }},",
                method.is_server_streaming()
            )?;
        }
    }
    text.push_str("];\n");
    Ok(text)
}
