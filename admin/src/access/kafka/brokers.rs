//! The rights that the brokers know: read, created and removed.
#![allow(unsafe_code, reason = "rust-rdkafka has no safe way to rights; each block says why it is sound")]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rdkafka::bindings as librdkafka;
use rdkafka::bindings::rd_kafka_AclOperation_t as NativeOperation;
use rdkafka::bindings::rd_kafka_AclPermissionType_t as Permission;
use rdkafka::bindings::rd_kafka_ResourcePatternType_t as Pattern;
use rdkafka::bindings::rd_kafka_ResourceType_t as Resource;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::IsError;

use super::acl::{Acl, Kind, Operation};

/// How long the brokers are waited for.
const ANSWER: Duration = Duration::from_secs(30);

const OPERATIONS: [(Operation, NativeOperation); 11] = [
    (Operation::All, NativeOperation::RD_KAFKA_ACL_OPERATION_ALL),
    (Operation::Read, NativeOperation::RD_KAFKA_ACL_OPERATION_READ),
    (Operation::Write, NativeOperation::RD_KAFKA_ACL_OPERATION_WRITE),
    (Operation::Create, NativeOperation::RD_KAFKA_ACL_OPERATION_CREATE),
    (Operation::Delete, NativeOperation::RD_KAFKA_ACL_OPERATION_DELETE),
    (Operation::Alter, NativeOperation::RD_KAFKA_ACL_OPERATION_ALTER),
    (Operation::Describe, NativeOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE),
    (Operation::ClusterAction, NativeOperation::RD_KAFKA_ACL_OPERATION_CLUSTER_ACTION),
    (Operation::DescribeConfigs, NativeOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS),
    (Operation::AlterConfigs, NativeOperation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS),
    (Operation::IdempotentWrite, NativeOperation::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE),
];

const KINDS: [(Kind, Resource); 4] = [
    (Kind::Topic, Resource::RD_KAFKA_RESOURCE_TOPIC),
    (Kind::Group, Resource::RD_KAFKA_RESOURCE_GROUP),
    // Kafka gave the number of brokers to the cluster.
    (Kind::Cluster, Resource::RD_KAFKA_RESOURCE_BROKER),
    (Kind::TransactionalId, Resource::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID),
];

/// All rights. Blocks.
///
/// # Errors
/// No broker answers, the brokers have no authorizer, or this user may not look.
pub fn read<C: ClientContext>(client: &Client<C>) -> anyhow::Result<BTreeSet<Acl>> {
    let filter = Binding::everything()?;
    // SAFETY: client and filter are alive until the brokers have answered.
    let send = |queue| unsafe {
        librdkafka::rd_kafka_DescribeAcls(client.native_ptr(), filter.0, std::ptr::null(), queue);
    };
    // SAFETY: the event is alive, and so is what it holds.
    let read = |event| unsafe {
        let result = librdkafka::rd_kafka_event_DescribeAcls_result(event);
        ensure!(!result.is_null(), "the brokers gave another answer");
        let mut count = 0;
        let acls = librdkafka::rd_kafka_DescribeAcls_result_acls(result, &mut count);
        (0..count).map(|index| acl(*acls.add(index))).collect()
    };
    let shown = ask(client, send, read).and_then(|found: BTreeSet<Acl>| {
        if found.is_empty() {
            // librdkafka passes over a refusal to show rights, and over an authorizer that is missing. It does not when some are removed.
            remove(client, &[of_nobody()])?;
        }
        Ok(found)
    });
    shown.context("Kafka does not show its ACLs")
}

/// A right that nobody has.
fn of_nobody() -> Acl {
    Acl {
        principal: "User:devtoolkit-nobody".to_owned(),
        kind: Kind::Topic,
        name: "devtoolkit-no-topic".to_owned(),
        is_prefix: false,
        operation: Operation::Read,
        host: "192.0.2.1".to_owned(),
        is_allowed: false,
    }
}

/// Gives rights. Blocks.
///
/// # Errors
/// As [`read`].
pub fn create<C: ClientContext>(client: &Client<C>, acls: &[Acl]) -> anyhow::Result<()> {
    let bindings = acls.iter().map(Binding::new).collect::<anyhow::Result<Vec<_>>>()?;
    let mut pointers: Vec<_> = bindings.iter().map(|binding| binding.0).collect();
    // SAFETY: client, bindings and the list of pointers are alive; librdkafka copies them.
    let send = |queue| unsafe {
        let (list, count) = (pointers.as_mut_ptr(), pointers.len());
        librdkafka::rd_kafka_CreateAcls(client.native_ptr(), list, count, std::ptr::null(), queue);
    };
    // SAFETY: the event is alive, and so is what it holds.
    let read = |event| unsafe {
        let result = librdkafka::rd_kafka_event_CreateAcls_result(event);
        ensure!(!result.is_null(), "the brokers gave another answer");
        let mut count = 0;
        let results = librdkafka::rd_kafka_CreateAcls_result_acls(result, &mut count);
        (0..count).try_for_each(|index| check(librdkafka::rd_kafka_acl_result_error(*results.add(index))))
    };
    ask(client, send, read).context("the ACLs cannot be created")
}

/// Takes rights away. Blocks.
///
/// # Errors
/// As [`read`].
pub fn remove<C: ClientContext>(client: &Client<C>, acls: &[Acl]) -> anyhow::Result<()> {
    let filters = acls.iter().map(Binding::exactly).collect::<anyhow::Result<Vec<_>>>()?;
    let mut pointers: Vec<_> = filters.iter().map(|filter| filter.0).collect();
    // SAFETY: client, filters and the list of pointers are alive; librdkafka copies them.
    let send = |queue| unsafe {
        let (list, count) = (pointers.as_mut_ptr(), pointers.len());
        librdkafka::rd_kafka_DeleteAcls(client.native_ptr(), list, count, std::ptr::null(), queue);
    };
    // SAFETY: the event is alive, and so is what it holds.
    let read = |event| unsafe {
        let result = librdkafka::rd_kafka_event_DeleteAcls_result(event);
        ensure!(!result.is_null(), "the brokers gave another answer");
        let mut count = 0;
        let results = librdkafka::rd_kafka_DeleteAcls_result_responses(result, &mut count);
        let error = |index| librdkafka::rd_kafka_DeleteAcls_result_response_error(*results.add(index));
        (0..count).try_for_each(|index| check(error(index)))
    };
    ask(client, send, read).context("the ACLs cannot be removed")
}

/// Sends a question, and reads the answer.
fn ask<C: ClientContext, T>(
    client: &Client<C>,
    send: impl FnOnce(*mut librdkafka::rd_kafka_queue_t),
    read: impl FnOnce(*mut librdkafka::rd_kafka_event_t) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let wait = i32::try_from(ANSWER.as_millis())?;
    // SAFETY: the client is borrowed. Queue and event are given back once, after their last use; an event that is null may be given
    // back as well.
    unsafe {
        let queue = librdkafka::rd_kafka_queue_new(client.native_ptr());
        send(queue);
        let event = librdkafka::rd_kafka_queue_poll(queue, wait);
        let answer = if event.is_null() {
            Err(anyhow::anyhow!("no broker answers"))
        } else if librdkafka::rd_kafka_event_error(event).is_error() {
            Err(anyhow::anyhow!(text(librdkafka::rd_kafka_event_error_string(event))))
        } else {
            read(event)
        };
        librdkafka::rd_kafka_event_destroy(event);
        librdkafka::rd_kafka_queue_destroy(queue);
        answer
    }
}

/// # Safety
/// `error` is null, or alive.
unsafe fn check(error: *const librdkafka::rd_kafka_error_t) -> anyhow::Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: it is alive.
    unsafe {
        if librdkafka::rd_kafka_error_code(error).is_error() {
            bail!("{}", text(librdkafka::rd_kafka_error_string(error)));
        }
    }
    Ok(())
}

/// # Safety
/// `pointer` is null, or a text that ends with a zero byte.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(pointer).to_string_lossy().into_owned() }
}

/// # Safety
/// `binding` is alive.
unsafe fn acl(binding: *const librdkafka::rd_kafka_AclBinding_t) -> anyhow::Result<Acl> {
    ensure!(!binding.is_null(), "the brokers gave an empty ACL");
    // SAFETY: it is alive, and so are its texts.
    unsafe {
        let (kind, operation) =
            (librdkafka::rd_kafka_AclBinding_restype(binding), librdkafka::rd_kafka_AclBinding_operation(binding));
        let pattern = librdkafka::rd_kafka_AclBinding_resource_pattern_type(binding);
        Ok(Acl {
            principal: text(librdkafka::rd_kafka_AclBinding_principal(binding)),
            kind: KINDS.iter().find(|(_, native)| *native == kind).map_or(Kind::Other, |(kind, _)| *kind),
            name: text(librdkafka::rd_kafka_AclBinding_name(binding)),
            is_prefix: pattern == Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            operation: OPERATIONS
                .iter()
                .find(|(_, native)| *native == operation)
                .map_or(Operation::Other, |(operation, _)| *operation),
            host: text(librdkafka::rd_kafka_AclBinding_host(binding)),
            is_allowed: librdkafka::rd_kafka_AclBinding_permission_type(binding)
                == Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
        })
    }
}

/// A right, or a question for rights, as librdkafka has it.
struct Binding(*mut librdkafka::rd_kafka_AclBinding_t);

type Make = unsafe extern "C" fn(
    Resource,
    *const c_char,
    Pattern,
    *const c_char,
    *const c_char,
    NativeOperation,
    Permission,
    *mut c_char,
    usize,
) -> *mut librdkafka::rd_kafka_AclBinding_t;

impl Binding {
    fn new(acl: &Acl) -> anyhow::Result<Self> {
        Self::make(librdkafka::rd_kafka_AclBinding_new, acl)
    }

    /// A question for this one alone.
    fn exactly(acl: &Acl) -> anyhow::Result<Self> {
        Self::make(librdkafka::rd_kafka_AclBindingFilter_new, acl)
    }

    fn make(make: Make, acl: &Acl) -> anyhow::Result<Self> {
        let kind = KINDS.iter().find(|(kind, _)| *kind == acl.kind);
        let operation = OPERATIONS.iter().find(|(operation, _)| *operation == acl.operation);
        let (Some((_, kind)), Some((_, operation))) = (kind, operation) else {
            bail!("an ACL of a kind that this program does not know: {acl}; change it with kafka-acls.sh");
        };
        let pattern = match acl.is_prefix {
            true => Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            false => Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
        };
        let permission = match acl.is_allowed {
            true => Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
            false => Permission::RD_KAFKA_ACL_PERMISSION_TYPE_DENY,
        };
        let texts = [&acl.name, &acl.principal, &acl.host].map(|text| CString::new(text.as_str()));
        let [name, principal, host] = texts;
        let (name, principal, host) = (name?, principal?, host?);
        let mut why = [0; 256];
        // SAFETY: the texts are alive and copied; `why` has the length that is named.
        let made = unsafe {
            let (name, principal, host) = (name.as_ptr(), principal.as_ptr(), host.as_ptr());
            make(*kind, name, pattern, principal, host, *operation, permission, why.as_mut_ptr(), why.len())
        };
        Self::made(made, &why)
    }

    fn everything() -> anyhow::Result<Self> {
        let mut why = [0; 256];
        let any = std::ptr::null();
        // SAFETY: null stands for any text; `why` has the length that is named.
        let made = unsafe {
            librdkafka::rd_kafka_AclBindingFilter_new(
                Resource::RD_KAFKA_RESOURCE_ANY,
                any,
                Pattern::RD_KAFKA_RESOURCE_PATTERN_ANY,
                any,
                any,
                NativeOperation::RD_KAFKA_ACL_OPERATION_ANY,
                Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
                why.as_mut_ptr(),
                why.len(),
            )
        };
        Self::made(made, &why)
    }

    fn made(made: *mut librdkafka::rd_kafka_AclBinding_t, why: &[c_char]) -> anyhow::Result<Self> {
        if made.is_null() {
            // SAFETY: librdkafka ends what it writes there with a zero byte, and the rest is zeros.
            bail!("librdkafka does not take the ACL: {}", unsafe { text(why.as_ptr()) });
        }
        Ok(Self(made))
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: it was made by librdkafka, and nobody else gives it back.
        unsafe { librdkafka::rd_kafka_AclBinding_destroy(self.0) }
    }
}
