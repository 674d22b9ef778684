// Runs under build/: the package's own routes for Express. It knows one upstream, so that `fetch` is redirected.
import express from "express";
import { registerNavaiExpressRoutes } from "@navai/voice-backend";

const original = globalThis.fetch;
globalThis.fetch = (url, options) =>
  original(String(url).replace("https://api.openai.com/v1/", `${process.env.UPSTREAM}/openai/v1/`), options);

const app = express();
app.use(express.json());
registerNavaiExpressRoutes(app, { includeFunctionsRoutes: false });
app.listen(Number(process.argv[2]), "127.0.0.1");
