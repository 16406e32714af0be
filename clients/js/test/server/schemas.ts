/// <reference types="node" />
/** The records of openapi.json, to compare responses of the real server with what the types promise. */

import { readFileSync } from "node:fs";

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}
interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, { content?: Record<string, { schema: Schema }> }>>;
}

const DOCUMENT = JSON.parse(readFileSync("../../spec/openapi.json", "utf-8"));
const OPERATIONS: Operation[] = Object.values<Record<string, Operation>>(DOCUMENT.paths).flatMap(Object.values);

/** Return what is wrong with the names in a response: those that are missing, and those that are not documented. */
export function faults(operationId: string, response: unknown): string[] {
  const found = OPERATIONS.find((operation) => operation.operationId === operationId);
  const [, success] = Object.entries(found?.responses ?? {}).find(([status]) => status.startsWith("2")) ?? [];
  const schema = success?.content?.["application/json"]?.schema;
  return schema ? check(schema, response, operationId) : [`${operationId} has no schema`];
}

function check(schema: Schema, value: unknown, path: string): string[] {
  if (schema.$ref) return check(DOCUMENT.components.schemas[schema.$ref.split("/").at(-1) ?? ""], value, path);
  if (schema.anyOf) {
    const tried = schema.anyOf.map((one) => check(one, value, path));
    return tried.some((found) => found.length === 0) ? [] : tried.flat();
  }
  if (schema.type === "null") return value === null ? [] : [`${path} is not null`];
  if (schema.type === "array") {
    if (!Array.isArray(value)) return [`${path} is no list`];
    return value.flatMap((one, index) => check(schema.items ?? {}, one, `${path}[${index}]`));
  }
  const kind = schema.type === "integer" ? "number" : schema.type;
  if (kind && (typeof value !== kind || value === null)) return [`${path} is no ${kind}`];
  if (!schema.properties) return [];
  const fields = value as Record<string, unknown>;
  const missing = (schema.required ?? [])
    .filter((name) => !(name in fields))
    .map((name) => `${path}.${name} is missing`);
  const known = Object.entries(fields).flatMap(([name, field]) => {
    const property = schema.properties?.[name];
    return property ? check(property, field, `${path}.${name}`) : [`${path}.${name} is not documented`];
  });
  return [...missing, ...known];
}
