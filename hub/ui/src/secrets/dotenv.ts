// Lines of KEY=VALUE as people have them in .env files. No variable is replaced and no command run in a value.

export interface Pair {
  readonly key: string;
  readonly value: string;
}

export interface Parsed {
  readonly pairs: readonly Pair[];
  /** Numbers of the lines that say nothing we know. */
  readonly wrong: readonly number[];
}

const LINE = /^\s*(?:export\s+)?([^\s=#'"]+)\s*=\s*(.*)$/;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\", $: "$" };

/** Reads a text; of two lines with the same key the later one counts. */
export function parseDotenv(text: string): Parsed {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const pairs = new Map<string, string>();
  const wrong: number[] = [];
  for (let number = 0; number < lines.length; number++) {
    const line = lines[number] ?? "";
    if (/^\s*(#|$)/.test(line)) continue;
    const match = LINE.exec(line);
    const [, key, start] = match ?? [];
    if (key === undefined || start === undefined) {
      wrong.push(number + 1);
      continue;
    }
    const quote = start[0];
    if (quote !== '"' && quote !== "'") {
      pairs.set(key, start.replace(/\s+#.*$/, "").trimEnd());
      continue;
    }
    // A value in quotes may go on over several lines.
    let rest = start.slice(1);
    let last = number;
    while (closing(rest, quote) === -1 && last + 1 < lines.length) {
      last++;
      rest += `\n${lines[last] ?? ""}`;
    }
    const end = closing(rest, quote);
    if (end === -1 || !/^\s*(#.*)?$/.test(rest.slice(end + 1))) {
      wrong.push(number + 1);
      continue;
    }
    const inside = rest.slice(0, end);
    pairs.set(key, quote === "'" ? inside : unescape(inside));
    number = last;
  }
  return { pairs: [...pairs].map(([key, value]) => ({ key, value })), wrong };
}

function closing(text: string, quote: string): number {
  for (let position = 0; position < text.length; position++) {
    if (quote === '"' && text[position] === "\\") position++;
    else if (text[position] === quote) return position;
  }
  return -1;
}

function unescape(text: string): string {
  return text.replace(/\\(.)/gs, (whole, char: string) => ESCAPES[char] ?? whole);
}
