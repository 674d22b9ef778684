// `node kql.cjs QUERY.kql ...`: parses each query with Microsoft's KQL service, over the columns that Application
// Insights gives to `traces`, and prints {file: [errors]}. `make infra-check` installs the service under build/.
const fs = require("fs");
const path = require("path");

const service = path.join(__dirname, "../build/infra/kql/node_modules/@kusto/language-service-next");
for (const name of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) require(path.join(service, name));

const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;
const TRACES =
  "(timestamp: datetime, message: string, severityLevel: int, itemType: string, customDimensions: dynamic, " +
  "operation_Name: string, operation_Id: string, cloud_RoleName: string, cloud_RoleInstance: string, " +
  "appName: string, sdkVersion: string, itemId: string, itemCount: int)";
const traces = Symbols.TableSymbol.From(TRACES).WithName("traces");
const database = new Symbols.DatabaseSymbol.$ctor1("insights", [traces]);
const globals = GlobalState.Default.WithDatabase(database);

const found = {};
for (const file of process.argv.slice(2)) {
  const text = fs.readFileSync(file, "utf-8");
  const list = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  found[file] = [];
  for (let i = 0; i < list.Count; i++) {
    const { Severity, Start, Message } = list.getItem(i);
    if (Severity === "Error") found[file].push(`line ${text.slice(0, Start).split("\n").length}: ${Message}`);
  }
}
console.log(JSON.stringify(found));
