//! Data that outlives the text it was read from: that of `data_base64`, whose bytes are nobody's once the event is read.

use std::borrow::Cow;

use super::{Activity, Context, Data, HealthCheck, Location, Metadata, ToolUsage, Usage};

impl Data<'_> {
    /// The same, with a copy of each text.
    pub(super) fn into_owned(self) -> Data<'static> {
        match self {
            Self::ToolUsage(usage) => Data::ToolUsage(Box::new(usage.into_owned())),
            Self::Activity(activity) => Data::Activity(Box::new(Activity {
                user_id: activity.user_id,
                session_id: activity.session_id,
                action: activity.action,
                path: activity.path.map(text),
                context: activity.context.map(context),
            })),
            Self::HealthCheck(check) => Data::HealthCheck(HealthCheck {
                tool_id: check.tool_id,
                healthy: check.healthy,
                response_time: check.response_time,
                message: check.message.map(text),
            }),
        }
    }
}

impl ToolUsage<'_> {
    fn into_owned(self) -> ToolUsage<'static> {
        let usage = self.usage;
        ToolUsage {
            user_id: self.user_id,
            tool_id: self.tool_id,
            session_id: self.session_id,
            usage: Usage {
                start_time: usage.start_time,
                end_time: usage.end_time,
                duration: usage.duration,
                input_size: usage.input_size,
                output_size: usage.output_size,
                success: usage.success,
                error_message: usage.error_message.map(text),
            },
            context: self.context.map(context),
            performance: self.performance,
            metadata: self.metadata.map(|metadata| Metadata {
                version: metadata.version.map(text),
                features: metadata.features.map(|features| features.into_iter().map(text).collect()),
                custom_data: metadata.custom_data.map(text),
            }),
        }
    }
}

fn context(context: Context<'_>) -> Context<'static> {
    Context {
        user_agent: context.user_agent.map(text),
        ip_address: context.ip_address.map(text),
        referrer: context.referrer.map(text),
        location: context.location.map(|location| Location {
            country: location.country.map(text),
            region: location.region.map(text),
            city: location.city.map(text),
        }),
    }
}

fn text(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}
