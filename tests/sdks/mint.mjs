// What tests/test_sdks.py runs: mints through npm's `openai` as a program would, and prints what the program saw.
// Takes one argument, JSON: {"package", "calls": [{"options": of the client, "asked": of create(), if anything}]}.

const { package: name, calls } = JSON.parse(process.argv[2]);
const { default: OpenAI } = await import(name);

const outcomes = [];
for (const { options, asked } of calls) {
  const secrets = new OpenAI(options).realtime.clientSecrets;
  try {
    const { data, request_id } = await (asked ? secrets.create(asked) : secrets.create()).withResponse();
    outcomes.push({ secret: data, request_id });
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const { status, code, param, type, message, requestID: request_id } = error;
    outcomes.push({ error: error.constructor.name, status, code, param, type, message, request_id });
  }
}
console.log(JSON.stringify(outcomes));
