//! Plans as clients write them: the name of one of the tenant's, or steps.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;
use tidings_domain::Tenant;
use tidings_domain::notification::{self as domain, Category, Plan};
use tidings_domain::settings::{self, PlanName};

use super::duration;
use super::problem::{Kind, Problem};
use super::wire::PlanStepBody;
use crate::directory::Directory;

/// A name, or steps of this kind.
#[derive(Debug)]
pub enum PlanChoice<S> {
    Named(String),
    Steps(Vec<S>),
}

impl<'de, S: Deserialize<'de>> Deserialize<'de> for PlanChoice<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor(PhantomData))
    }
}

struct ChoiceVisitor<S>(PhantomData<S>);

impl<'de, S: Deserialize<'de>> Visitor<'de> for ChoiceVisitor<S> {
    type Value = PlanChoice<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a plan or an array of steps")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(PlanChoice::Named(name.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, steps: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(steps)).map(PlanChoice::Steps)
    }
}

impl<S: Type> Type for PlanChoice<S> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        format!("name_or_array<{}>", S::name()).into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let name = MetaSchema {
            min_length: Some(1),
            max_length: Some(PlanName::CHARS_MAX),
            ..MetaSchema::new("string")
        };
        let steps = MetaSchema {
            items: Some(Box::new(S::schema_ref())),
            min_items: Some(1),
            max_items: Some(Plan::STEPS_MAX),
            ..MetaSchema::new("array")
        };
        let one_of = [name, steps].map(|schema| MetaSchemaRef::Inline(Box::new(schema))).into();
        MetaSchemaRef::Inline(Box::new(MetaSchema { one_of, ..MetaSchema::ANY }))
    }

    fn register(registry: &mut Registry) {
        S::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl<S: ParseFromJSON> ParseFromJSON for PlanChoice<S> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::String(name)) => Ok(Self::Named(name)),
            steps => Vec::parse_from_json(steps).map(Self::Steps).map_err(ParseError::propagate),
        }
    }
}

impl<S: ToJSON> ToJSON for PlanChoice<S> {
    fn to_json(&self) -> Option<Value> {
        match self {
            Self::Named(name) => Some(Value::String(name.clone())),
            Self::Steps(steps) => steps.to_json(),
        }
    }
}

/// One step of a plan.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PlannedStep {
    channel: String,
    /// When its turn comes by itself.
    after: Option<String>,
    /// What makes it needless: `delivered`, `seen` or `read`.
    unless: Option<String>,
}

/// The plan that a notification or a broadcast is made with: as a later change of the settings leaves it.
pub async fn fixed_plan(
    choice: Option<PlanChoice<PlanStepBody>>,
    category: Option<&Category>,
    (directory, tenant): (&Directory, &Tenant),
) -> Result<Plan, Problem> {
    let named = match choice.map(PlanChoice::into_domain).transpose()? {
        Some(settings::PlanChoice::Steps(plan)) => return Ok(plan),
        Some(settings::PlanChoice::Named(name)) => Some(name),
        None => None,
    };
    let settings = directory.settings(tenant).await?;
    let Some(name) = named else { return Ok(settings.plan_for(category)) };
    let unknown = || Problem::from(settings::Error::UnknownPlan);
    settings.plans.get(&name).cloned().ok_or_else(unknown)
}

/// The steps, at the member `plan`.
pub fn plan(steps: Vec<PlanStepBody>) -> Result<Plan, Problem> {
    let steps = steps.into_iter().enumerate().map(|(index, step)| step.into_step(index));
    Ok(Plan::new(steps.collect::<Result<_, _>>()?)?)
}

pub fn plan_name(pointer: &str, text: String) -> Result<PlanName, Problem> {
    PlanName::try_from(text).map_err(|error| Problem::at(Kind::Invalid, pointer, error.to_string()))
}

impl PlanChoice<PlanStepBody> {
    pub fn into_domain(self) -> Result<settings::PlanChoice, Problem> {
        Ok(match self {
            Self::Named(name) => settings::PlanChoice::Named(plan_name("/plan", name)?),
            Self::Steps(steps) => settings::PlanChoice::Steps(plan(steps)?),
        })
    }
}

impl From<&settings::PlanChoice> for PlanChoice<PlannedStep> {
    fn from(choice: &settings::PlanChoice) -> Self {
        match choice {
            settings::PlanChoice::Named(name) => Self::Named(name.to_string()),
            settings::PlanChoice::Steps(plan) => Self::Steps(PlannedStep::of(plan)),
        }
    }
}

impl PlannedStep {
    pub fn of(plan: &Plan) -> Vec<Self> {
        plan.steps().iter().map(Self::from).collect()
    }
}

impl From<&domain::PlanStep> for PlannedStep {
    fn from(step: &domain::PlanStep) -> Self {
        Self {
            channel: step.channel.as_str().into(),
            after: step.after_s.map(|after_s| duration::format(Duration::from_secs(after_s.into()))),
            unless: step.unless.map(|unless| unless.as_str().into()),
        }
    }
}
