//! Events as the benchmarks send them: about 930 bytes of JSON, as a tool of the real application writes them.

/// The JSON of the `number`th tool use at `time`, of one of `users` users and `tools` tools.
pub fn tool_usage(number: u64, time_ms: i64, users: u64, tools: u64) -> String {
    let time = |ms: i64| common::event::Timestamp::from_millis(ms).to_string();
    let (user, tool, session) = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % users, number % tools, number / 2);
    let duration = 200 + (number % 4_000) as i64;
    format!(
        concat!(
            r#"{{"specversion":"1.0","id":"{number:020}","source":"/devtoolkit/web/sql-generator","type":"com.devtoolkit.tool-usage.v1","time":"{end}","#,
            r#""data":{{"userId":"65a0{user:020x}","toolId":"65b0{tool:020x}","sessionId":"65c0{session:020x}","#,
            r#""usage":{{"startTime":"{start}","endTime":"{end}","duration":{duration},"inputSize":{input},"outputSize":{output},"success":true}},"#,
            r#""context":{{"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.0.0 Safari/537.36","ipAddress":"192.168.{a}.{b}","referrer":"https://devtoolkit.example.com/tools","#,
            r#""location":{{"country":"US","region":"CA","city":"San Francisco"}}}},"#,
            r#""performance":{{"responseTime":{duration}.5,"memoryUsage":45.2,"cpuUsage":12.5}},"#,
            r#""metadata":{{"version":"2.1.0","features":["ai_generation","syntax_highlighting"],"customData":{{"queryComplexity":"medium","tableCount":3}}}}}}}}"#
        ),
        number = number,
        end = time(time_ms),
        start = time(time_ms - duration),
        user = user,
        tool = tool,
        session = session,
        duration = duration,
        input = number % 5_000,
        output = number % 9_000,
        a = number % 256,
        b = number / 256 % 256,
    )
}
