// A session that starts: JupyterHub's progress events become a list of steps; the page goes on to the session, or shows why
// there is none.
import { api, explain } from "../lib/api";
import { confirmDialog } from "../lib/dialog";
import { t } from "../lib/i18n";
import { all, icon, make, one, pageData } from "../lib/page";
import { toast } from "../lib/toast";

type State = "running" | "ok" | "warning" | "failed";

interface Launch {
  readonly progress: string;
  readonly user: string;
  readonly server: string;
  readonly form: string;
}

/** An event of JupyterHub's progress stream; `step` and `state` are our spawners' own. */
interface Progress {
  readonly progress?: number;
  readonly message?: string;
  readonly step?: string;
  readonly state?: State;
  readonly ready?: boolean;
  readonly failed?: boolean;
}

const ICONS: Readonly<Record<State, string>> = {
  running: "spinner",
  ok: "check-circle",
  warning: "warning",
  failed: "error",
};
/** Milliseconds that a warning can be read before the session opens. */
const READING = 6_000;

/** JupyterHub's own first event. */
const REQUESTED = "Server requested";

const launch = pageData() as Launch;
const steps = one<HTMLOListElement>("#launch-steps");
const status = one("#launch-status");
const bar = one("#launch-progress");
let warned = false;
let ended = false;
let stream: EventSource | undefined;

function stepElement(text: string, state: State): HTMLLIElement {
  const element = make("li", { class: `dl-step dl-step-${state}` });
  const picture = icon(ICONS[state]);
  if (state === "running") picture.classList.add("dl-spin");
  const said = make("span", { class: "visually-hidden" }, ` (${t(`hub.pending.state.${state}`)})`);
  element.append(picture, make("span", {}, text, said));
  return element;
}

/** Ends lines that nothing else ends: another spawner says only what it begins. */
function settle(lines: readonly HTMLElement[]): void {
  for (const line of lines) line.replaceWith(stepElement(line.dataset.text ?? "", "ok"));
}

/** Adds a line; what a step that is under way says next takes its line. */
function addStep(text: string, state: State, step: string): void {
  if (step === "") settle(all(".dl-step-running:not([data-step])", steps));
  const element = stepElement(text, state);
  element.dataset.text = text;
  if (step !== "") element.dataset.step = step;
  const earlier = all(".dl-step-running[data-step]", steps).find((line) => line.dataset.step === step);
  if (earlier === undefined) steps.append(element);
  else earlier.replaceWith(element);
  warned ||= state === "warning";
  one("#launch-waiting").hidden = true;
}

function showProgress(percent: number): void {
  bar.setAttribute("aria-valuenow", String(percent));
  one(".progress-bar", bar).style.width = `${Math.max(percent, 3)}%`;
}

function finish(): void {
  ended = true;
  settle(all(".dl-step-running", steps));
  one("#launch-cancel").hidden = true;
  status.textContent = t(warned ? "hub.pending.ready_warned" : "hub.pending.ready");
  one("#launch-open").hidden = false;
  setTimeout(() => {
    location.reload();
  }, warned ? READING : 0);
}

function handle(event: Progress): void {
  if (event.progress !== undefined) showProgress(event.progress);
  if (event.ready) {
    finish();
  } else if (event.failed) {
    ended = true;
    // the server's page says why, with what to do
    location.reload();
  } else if (event.message !== undefined && event.message !== "") {
    // what the page begins with says that already
    if (event.message !== REQUESTED) addStep(event.message.replace(/^⚠\s*/, ""), event.state ?? "running", event.step ?? "");
  }
}

function follow(): void {
  const source = new EventSource(launch.progress);
  stream = source;
  source.addEventListener("open", () => {
    // all events come again from the first
    steps.replaceChildren();
    warned = false;
    if (!ended) status.textContent = "";
  });
  source.addEventListener("message", (message: MessageEvent<string>) => {
    handle(JSON.parse(message.data) as Progress);
    if (ended) source.close();
  });
  source.addEventListener("error", () => {
    if (ended) return;
    status.textContent = t("hub.pending.lost");
    if (source.readyState !== EventSource.CLOSED) return;
    // refused: the launch is over, or the person is signed out; the server's page tells which
    setTimeout(() => {
      location.reload();
    }, 3_000);
  });
}

async function cancel(): Promise<void> {
  const sure = await confirmDialog({
    title: t("hub.pending.cancel_title"),
    body: t("hub.pending.cancel_text"),
    confirm: t("hub.pending.cancel"),
    cancel: t("hub.pending.cancel_no"),
    danger: true,
  });
  if (!sure || ended) return;
  const user = encodeURIComponent(launch.user);
  const server = launch.server === "" ? "server" : `servers/${encodeURIComponent(launch.server)}`;
  status.textContent = t("hub.pending.cancelling");
  one<HTMLButtonElement>("#launch-cancel").disabled = true;
  // the launch that fails now fails because of this: what follows is not the reason, but the form
  ended = true;
  stream?.close();
  try {
    await api.del(`/users/${user}/${server}`);
    location.assign(launch.form);
  } catch (error) {
    ended = false;
    follow();
    one<HTMLButtonElement>("#launch-cancel").disabled = false;
    status.textContent = "";
    toast(explain(error), "danger");
  }
}

one("#launch-cancel").addEventListener("click", () => void cancel());
follow();
