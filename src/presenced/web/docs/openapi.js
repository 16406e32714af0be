/**
 * Endpoints and fields from this server's OpenAPI document, prepared for display.
 */

/**
 * @typedef {{[key: string]: any}} Schema
 * @typedef {{openapi: string, info: {version: string, description: string}, servers: {url: string}[],
 *   paths: {[path: string]: {[method: string]: any}}, components: {schemas: {[name: string]: Schema}}}} Document
 * @typedef {{name: string, type: string, description: string, needed: boolean, depth: number}} Field
 * @typedef {{status: string, description: string, schema?: Schema, example?: unknown}} Answer
 * @typedef {"path" | "query" | "header"} Place
 * @typedef {{name: string, place: Place, type: string, description: string, isNeeded: boolean, isList: boolean,
 *   example: string}} Parameter
 * @typedef {{id: string, group: string, method: string, path: string, base: string, scope: string, summary: string,
 *   description: string, parameters: Parameter[], streams: boolean, hasJson: boolean, isDestructive: boolean,
 *   body?: Schema, bodyExample?: unknown, answers: Answer[], refusals: Field[]}} Operation
 */

const MAX_DEPTH = 3;

/**
 * @param {Document} api
 * @returns {Operation[]}
 */
export function operationsOf(api) {
  const base = api.servers[0]?.url ?? "";
  return Object.entries(api.paths)
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, source]) => operationOf(base, path, method.toUpperCase(), source)),
    )
    .sort((a, b) => a.order - b.order)
    .map(({ operation }) => operation);
}

/**
 * @param {string} base
 * @param {string} path
 * @param {string} method
 * @param {any} source
 */
function operationOf(base, path, method, source) {
  /** @type {any[]} */
  const parameters = source.parameters ?? [];
  const content = source.requestBody?.content?.["application/json"];
  /** @type {[string, any][]} */
  const responses = Object.entries(source.responses);
  const [description = ""] = source.description.split("\n\nScope:");
  /** @type {Operation} */
  const operation = {
    id: source.operationId,
    group: source.tags[0],
    method,
    path,
    base,
    scope: source["x-scope"],
    summary: source.summary,
    description,
    parameters: parameters.map((one) => parameterOf(one, new URLSearchParams(source["x-example-query"] ?? ""))),
    streams: responses.some(([, { content }]) => content?.["text/event-stream"]),
    hasJson: responses.some(([status, { content }]) => status < "400" && content?.["application/json"]),
    isDestructive: Boolean(source["x-destructive"]),
    body: content?.schema,
    bodyExample: content?.example,
    answers: responses.filter(([status]) => status < "400").map(([status, response]) => answerOf(status, response)),
    refusals: responses
      .filter(([status]) => status >= "400")
      .map(([status, response]) => ({
        name: status,
        type: "problem",
        description: response.description,
        needed: false,
        depth: 0,
      })),
  };
  return { order: source["x-order"] ?? 0, operation };
}

/**
 * @param {any} source
 * @param {URLSearchParams} exampleQuery
 * @returns {Parameter}
 */
function parameterOf(source, exampleQuery) {
  const examples = source.in === "query" ? exampleQuery.getAll(source.name) : [source.example ?? ""];
  return {
    name: source.name,
    place: source.in,
    type: typeOf(source.schema),
    description: source.description,
    isNeeded: Boolean(source.required),
    isList: source.schema.type === "array",
    example: examples.join("\n"),
  };
}

/**
 * Return the parameters of an operation as fields of a table.
 *
 * @param {Operation} operation
 * @returns {Field[]}
 */
export function parameterFields(operation) {
  return operation.parameters.map(({ name, place, type, description, isNeeded }) => ({
    name,
    type: `${place}: ${type}`,
    description,
    needed: isNeeded,
    depth: 0,
  }));
}

/**
 * @param {string} status
 * @param {any} response
 * @returns {Answer}
 */
function answerOf(status, response) {
  const json = response.content?.["application/json"];
  const streams = response.content?.["text/event-stream"] ? " Or Server-Sent Events." : "";
  return { status, description: response.description + streams, schema: json?.schema, example: json?.example };
}

/**
 * Return the fields of a record, each followed by the fields of the record it contains.
 *
 * @param {Document} api
 * @param {Schema} schema
 * @param {number} [depth]
 * @returns {Field[]}
 */
export function fieldsOf(api, schema, depth = 0) {
  const record = recordIn(api, schema);
  if (!record || depth > MAX_DEPTH) return [];
  return Object.entries(record.properties).flatMap(([name, field]) => [
    {
      name,
      type: typeOf(field),
      description: field.description ?? "",
      needed: record.required?.includes(name) && "additionalProperties" in record,
      depth,
    },
    ...fieldsOf(api, field, depth + 1),
  ]);
}

/**
 * Return the record that a schema refers to: directly, as a list, or as a nullable value.
 *
 * @param {Document} api
 * @param {Schema} schema
 * @returns {Schema | undefined}
 */
function recordIn(api, schema) {
  if (schema.$ref) return api.components.schemas[schema.$ref.split("/").at(-1)];
  if (schema.items) return recordIn(api, schema.items);
  for (const kind of schema.anyOf ?? []) if (kind.$ref) return recordIn(api, kind);
  return undefined;
}

/**
 * Describe a schema: `integer, 1 to 1000`.
 *
 * @param {Schema} schema
 * @returns {string}
 */
export function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items) : "anything"}`;
  const low = schema.minimum ?? schema.exclusiveMinimum ?? schema.minLength;
  const high = schema.maximum ?? schema.maxLength;
  const unit = schema.maxLength === undefined ? "" : " characters";
  if (high === undefined) return schema.type ?? "anything";
  const above = schema.exclusiveMinimum !== undefined;
  const from = low === undefined ? "up to" : above ? `above ${low}, up to` : `${low} to`;
  return `${schema.type}, ${from} ${high}${unit}`;
}
