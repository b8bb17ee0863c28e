//! Short forms for writing signatures down.

use std::sync::Arc;

use mlp_model::{
    ArgError, ArgType, Argument, CallClass, CheckedCall, Infer, Inferred, InputType, ParamType, Role, RoleRule,
    Signature, Type, Value,
};

/// What a signature is made of. `class` is [`CallClass::Step`] unless [`Operation::source`] says otherwise.
pub(crate) struct Operation {
    pub name: &'static str,
    pub version: u32,
    pub runner: &'static str,
    pub doc: &'static str,
    pub args: Vec<Argument>,
}

impl Operation {
    pub fn step(self, infer: fn(&CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>>) -> Signature {
        self.with(CallClass::Step, Arc::new(infer))
    }

    pub fn source(self, infer: fn(&CheckedCall<'_>) -> Result<Inferred, Vec<ArgError>>) -> Signature {
        self.with(CallClass::Source, Arc::new(infer))
    }

    pub fn with(self, class: CallClass, infer: Arc<dyn Infer>) -> Signature {
        let Self { name, version, runner, doc, args } = self;
        Signature { name, version, runner, class, doc: doc.trim(), args, infer }
    }
}

/// An artifact that must be given.
pub(crate) fn input(name: &'static str, ty: InputType, doc: &'static str) -> Argument {
    Argument { name, ty: ArgType::Input(ty), default: None, doc }
}

/// Named artifacts; none when left out.
pub(crate) fn inputs(name: &'static str, doc: &'static str) -> Argument {
    Argument { name, ty: ArgType::Input(InputType::Record), default: Some(Value::Null), doc }
}

/// A table whose rows may have any role.
pub(crate) fn table(name: &'static str, doc: &'static str) -> Argument {
    input(name, InputType::Table(RoleRule::Any), doc)
}

/// A table whose rows must not have one of `roles`.
pub(crate) fn table_not(name: &'static str, roles: &'static [Role], why: &'static str, doc: &'static str) -> Argument {
    input(name, InputType::Table(RoleRule::Not { roles, allow: None, why }), doc)
}

/// A parameter that must be written.
pub(crate) fn param(name: &'static str, ty: ParamType, doc: &'static str) -> Argument {
    Argument { name, ty: ArgType::Param(ty), default: None, doc }
}

/// A parameter with a default; [`Value::Null`] when it has no value unless written.
pub(crate) fn param_or(name: &'static str, ty: ParamType, default: Value, doc: &'static str) -> Argument {
    Argument { name, ty: ArgType::Param(ty), default: Some(default), doc }
}

/// A result with one output.
pub(crate) fn one_output(ty: Type) -> Inferred {
    Inferred { outputs: vec![("out".into(), ty)], ..Inferred::default() }
}
