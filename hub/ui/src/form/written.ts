// What is chosen in the form, written as a command, as YAML and as a launch link. Pure: no page in here.
import type { Variable } from "./rows";

/** What differs from the defaults. */
export interface Chosen {
  readonly service: string;
  /** What the session is called; empty if nothing. */
  readonly name: string;
  /** Dotted path and value, in the order of the form. */
  readonly options: readonly (readonly [string, string | boolean | readonly string[]])[];
  readonly variables: readonly Variable[];
}

export interface Tree { [key: string]: Tree | string | boolean | readonly (Tree | string)[] }

const TOKEN = /"((?:[^"\\]|\\.)*)"|((?:[^.[\]"\\]|\\.)+)/g;

/** The keys of a path that has no index in it. */
export function splitPath(path: string): string[] {
  return [...path.matchAll(TOKEN)].map((match) => (match[1] ?? match[2] ?? "").replace(/\\(.)/g, "$1"));
}

/** The options as nested data. The value of a secret variable is in it only with `secrets`. */
export function toTree(chosen: Chosen, secrets = false): Tree {
  const root: Tree = {};
  for (const [path, value] of chosen.options) {
    const keys = splitPath(path);
    let node = root;
    for (const key of keys.slice(0, -1)) {
      const inner = node[key] ?? {};
      node[key] = inner;
      node = inner as Tree;
    }
    node[keys.at(-1) ?? ""] = value;
  }
  if (chosen.variables.length > 0) {
    root.extraEnvVars = chosen.variables.map(({ name, value, secret }): Tree => {
      if (!secret) return { name, value };
      return secrets && value !== "" ? { name, value, secret: true } : { name, secret: true };
    });
  }
  return root;
}

/** A word for a POSIX shell. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Dotted path and text of each option, lists once for each item. */
function pairs(chosen: Chosen): [string, string][] {
  const found: [string, string][] = [];
  for (const [path, value] of chosen.options) {
    const texts = typeof value === "object" ? [...value] : [String(value)];
    for (const text of texts.length > 0 ? texts : [""]) found.push([path, text]);
  }
  chosen.variables.forEach(({ name, value, secret }, index) => {
    found.push([`extraEnvVars[${index}].name`, name]);
    found.push(secret ? [`extraEnvVars[${index}].secret`, "true"] : [`extraEnvVars[${index}].value`, value]);
  });
  return found;
}

/** The same launch in a terminal. */
export function toCommand(chosen: Chosen, hub: string): string {
  const words = [`sardonyx launch ${quote(chosen.service)}`, `--url ${quote(hub)}`];
  if (chosen.name !== "") words.push(`--name ${quote(chosen.name)}`);
  for (const [path, text] of pairs(chosen)) words.push(`--set ${quote(`${path}=${text}`)}`);
  return words.join(" \\\n  ");
}

/** The form filled in, as an address. Texts in Onyxia's quotes get another pair, as one is taken away. */
export function toLink(chosen: Chosen, hub: string): string {
  const query = new URLSearchParams({ service: chosen.service });
  if (chosen.name !== "") query.append("display_name", chosen.name);
  for (const [path, text] of pairs(chosen)) query.append(path, /^«.*»$/s.test(text) ? `«${text}»` : text);
  return `${hub}spawn?${query.toString()}`;
}

/** A scalar of YAML; what could be read as something else than text is in quotes. */
function scalar(value: string | boolean): string {
  if (typeof value === "boolean") return String(value);
  const plain = /^[A-Za-z/_][A-Za-z0-9/_.@+-]*(?: [A-Za-z0-9/_.@+-]+)*$/.test(value);
  const special = /^(?:true|false|yes|no|on|off|null|y|n)$/i.test(value);
  return plain && !special ? value : JSON.stringify(value);
}

function lines(tree: Tree, indent: string): string[] {
  return Object.entries(tree).flatMap(([key, value]): string[] => {
    const start = `${indent}${scalar(key)}:`;
    if (typeof value !== "object") return [`${start} ${scalar(value)}`];
    if (!Array.isArray(value)) return [start, ...lines(value as Tree, `${indent}  `)];
    if (value.length === 0) return [`${start} []`];
    return [start, ...(value as (Tree | string)[]).flatMap((item) => listItem(item, `${indent}  `))];
  });
}

function listItem(item: Tree | string, indent: string): string[] {
  if (typeof item === "string") return [`${indent}- ${scalar(item)}`];
  const [first = "", ...rest] = lines(item, `${indent}  `);
  return [`${indent}- ${first.trimStart()}`, ...rest];
}

/** A document that `sardonyx launch --file` reads. */
export function toYaml(chosen: Chosen): string {
  const options = toTree(chosen);
  const head: Tree = { service: chosen.service, ...(chosen.name === "" ? {} : { name: chosen.name }) };
  const written = Object.keys(options).length > 0 ? ["options:", ...lines(options, "  ")] : ["options: {}"];
  return `${[...lines(head, ""), ...written].join("\n")}\n`;
}
