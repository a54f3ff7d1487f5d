// Quantities as Kubernetes writes them; the same as sardonyx_spawner/quantities.py.

/** The number of bytes or cores that a quantity means; NaN if it is none. */
export function amount(text: string): number {
  const match = /^(\d+\.?\d*|\.\d+)(m|k|[MGTP]|[KMGTP]i)?$/.exec(text.trim());
  if (match === null) return NaN;
  const unit = match[2] ?? "";
  const number = Number(match[1]);
  if (unit === "m") return number / 1000;
  const letter = unit.startsWith("K") ? "k" : unit.charAt(0);
  const power = letter === "" ? 0 : " kMGTP".indexOf(letter);
  return number * (unit.endsWith("i") ? 1024 : 1000) ** power;
}

/** The index of the step that is nearest to an amount, as people see amounts: by ratio. */
export function nearest(steps: readonly string[], wanted: number): number {
  const distances = steps.map((step) => Math.abs(Math.log(amount(step) / wanted)));
  return distances.indexOf(Math.min(...distances));
}

/** The steps of several scales as one, in order, each amount once. */
export function merge(scales: readonly (readonly string[])[]): string[] {
  const known = new Map(scales.flat().map((step) => [amount(step), step]));
  return [...known.entries()].sort(([one], [other]) => one - other).map(([, step]) => step);
}
