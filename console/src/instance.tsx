// One instance: its state, its graph, when what ran, and its history.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ActionDialog, Actions, targetOf, type Wanted } from "./actions";
import { type Problem, query, read } from "./api";
import { ago, exact, plural, until } from "./format";
import { detailOf, GraphView } from "./graph";
import { HistoryView } from "./history";
import { useNow, usePolled } from "./hooks";
import { Items } from "./items";
import { instanceHash } from "./list";
import { useLog } from "./log";
import { Data, ErrorText, Large, Status, Time } from "./parts";
import { tell as tellStory } from "./spans";
import { TimelineView } from "./timeline";
import { type About, CLOSED, type Instance, type Json, type Replaced, type StepInfo, type StepView } from "./types";

const LIVE = 1_500;
const ENDED = 5_000;

interface Props {
  id: string;
  about: About;
  tell: (problem?: Problem) => void;
}

export function InstancePage({ id, about, tell }: Props) {
  const [ended, setEnded] = useState(false);
  const { value: instance, problem, refresh } = usePolled<Instance>(`instances/${encodeURIComponent(id)}`, ended ? ENDED : LIVE);
  const log = useLog(instance);
  const [step, setStep] = useState<string>();
  const [wanted, setWanted] = useState<Wanted>();
  const [done, setDone] = useState("");
  const now = useNow(1_000);
  const story = useMemo(() => tellStory(log.entries), [log.entries]);
  const detail = useRef<HTMLElement>(null);
  useEffect(() => {
    if (step) detail.current?.scrollIntoView({ block: "nearest" });
  }, [step]);
  useEffect(() => setEnded(instance !== undefined && CLOSED.has(instance.status)), [instance]);
  useEffect(() => tell(problem && (problem.passing || problem.refused) ? problem : undefined), [problem, tell]);
  useEffect(() => {
    document.title = instance ? `${instance.id}, ${instance.status} · Hephaestus` : "Hephaestus";
    return () => {
      document.title = "Hephaestus";
    };
  }, [instance]);

  if (!instance) {
    return (
      <main class="instance-page" id="main">
        <h1>{id}</h1>
        {problem && !problem.passing ? (
          <p class="empty" role="alert">
            {problem.message}
          </p>
        ) : (
          <p class="empty">{problem ? "Waiting for an answer…" : "Reading…"}</p>
        )}
        <p>
          <a href="#/">All instances</a>
        </p>
      </main>
    );
  }
  const version = about.workflows
    .find((one) => one.name === instance.workflow)
    ?.versions.find((one) => one.version === instance.version);
  const select = (chosen: string) => setStep((before) => (before === chosen ? undefined : chosen));
  const moving = !CLOSED.has(instance.status) ? now : Date.parse(instance.updated_at);
  return (
    <main class="instance-page" id="main">
      <header>
        <Crumbs instance={instance} />
        <h1>{instance.id}</h1>
        <div class="facts">
          <Status status={instance.status} />
          {instance.paused !== undefined && <Status status="paused" />}
          <span>{`${instance.workflow} v${instance.version}`}</span>
          {instance.generation > 1 && <span>{`generation ${instance.generation}`}</span>}
          <span>
            {"started "}
            <Time at={instance.created_at} text={ago(instance.created_at, now)} />
          </span>
          <span>
            {"changed "}
            <Time at={instance.updated_at} text={ago(instance.updated_at, now)} />
          </span>
          {instance.deadline && (
            <span>
              {"times out "}
              <Time at={instance.deadline} text={until(instance.deadline, now)} />
            </span>
          )}
          {(instance.tags ?? []).map((tag) => (
            <span key={tag} class="tag">
              {tag}
            </span>
          ))}
          {instance.forked_from && (
            <span>
              {"forked from "}
              <a href={instanceHash(instance.forked_from.split("#")[0] ?? "")}>{instance.forked_from}</a>
              {instance.forked_by && ` by ${instance.forked_by}`}
            </span>
          )}
        </div>
        <Actions instance={instance} want={(one) => (setDone(""), setWanted(one))} />
        <p class="done" role="status">
          {done}
        </p>
      </header>
      {instance.error && <ErrorText error={instance.error} label="Why it failed" />}
      {given(instance).map((text) => (
        <p key={text} class="notice">
          {text}
        </p>
      ))}
      <Why instance={instance} />

      <section class="panel" aria-label="Graph">
        <h2>Steps</h2>
          {version ? (
            <GraphView version={version} instance={instance} taken={story.taken} selected={step} select={select} now={now} />
          ) : (
            <StepTable instance={instance} now={now} selected={step} select={select} />
          )}
          <aside class="detail below" ref={detail} aria-label={step ? `Step ${step}` : "Instance"} aria-live="polite">
            {step ? <StepDetail key={step} info={version?.steps.find((one) => one.key === step)} id={step} instance={instance} now={now} close={() => setStep(undefined)} want={(one) => (setDone(""), setWanted(one))} /> : <InstanceDetail instance={instance} />}
          </aside>
      </section>

      <section class="panel" aria-label="Timeline">
        <h2>Timeline</h2>
        <TimelineView story={story} now={moving} selected={step} select={select} childOf={(key) => instance.steps?.[key]?.child} />
      </section>

      <section class="panel" aria-label="History">
        <h2>History</h2>
        <HistoryView instance={instance} log={log} step={step} clearStep={() => setStep(undefined)} fork={(at) => setWanted({ action: "fork", at })} />
      </section>

      {wanted && (
        <ActionDialog
          instance={instance}
          wanted={wanted}
          by={about.by}
          forks={version?.forks ?? "any"}
          close={() => setWanted(undefined)}
          done={(next) => {
            setWanted(undefined);
            setDone(wanted.action === "resume" ? `Sent ${wanted.event} to ${targetOf(wanted)}.` : `Asked to ${wanted.action} it.`);
            if (next !== instance.id) location.hash = instanceHash(next);
            refresh();
            setTimeout(refresh, 400);
          }}
        />
      )}
    </main>
  );
}

/** The way from the list to an instance: over the root of its tree and its parent. */
function Crumbs({ instance }: { instance: Instance }) {
  const above = [...new Set([instance.root, instance.parent])].filter((id): id is string => id !== undefined);
  const between = (instance.path ?? "").split("/").length - 2;
  return (
    <nav class="back" aria-label="Where it is">
      <a href="#/">Instances</a>
      {above.map((id, place) => (
        <span key={id}>
          {place === 1 && between > 1 ? " › … › " : " › "}
          <a href={instanceHash(id)}>{id}</a>
        </span>
      ))}
      {instance.path && <span class="note">{` › ${instance.path}`}</span>}
    </nav>
  );
}

/** What holds the instance, and what each open step waits for. */
function Why({ instance }: { instance: Instance }) {
  const steps = Object.entries(instance.steps ?? {}).filter(([, step]) => step.why && step.status !== "running");
  if (!instance.why?.length && !steps.length) return null;
  return (
    <section class="why" aria-label="Why it does not go on">
      {(instance.why ?? []).map((text) => (
        <p key={text} class="notice">{`It ${text}`}</p>
      ))}
      {steps.map(([key, step]) => (
        <p key={key}>
          <strong>{key}</strong>
          {` ${step.why}`}
        </p>
      ))}
    </section>
  );
}

/** What a fork was given in place of its source's data, in sentences. */
function given(instance: Instance): string[] {
  const say = (what: string, replaced: Replaced) =>
    `${what} given${replaced.by ? ` by ${replaced.by}` : ""} to the fork of ${replaced.forked_from}, in place of its own.`;
  const found = instance.context_replaced ? [say("The start data were", instance.context_replaced)] : [];
  for (const [key, step] of Object.entries(instance.steps ?? {})) {
    if (step.replaced) found.push(say(`The results of ${key} were`, step.replaced));
  }
  return found;
}

async function whole(instance: Instance): Promise<Instance> {
  return read<Instance>(query(`instances/${encodeURIComponent(instance.id)}`, { full: "1" }));
}

function InstanceDetail({ instance }: { instance: Instance }) {
  return (
    <div class="two">
      <div>
      <h3>Instance</h3>
      <p class="note">Choose a step in the graph to see its results.</p>
      {Object.values(instance.steps ?? {}).some((step) => step.child) && (
        <p>
          <a href={`#/?parent=${encodeURIComponent(instance.id)}`}>its children</a>
        </p>
      )}
      {instance.wake_at && !CLOSED.has(instance.status) && <p class="note">{`looked at again at the latest ${exact(instance.wake_at)}`}</p>}
      </div>
      <div>
      <Data value={instance.output} label="output" />
      <Data value={instance.context} label="start data" />
      {Object.entries(instance.large ?? {}).map(([name, characters]) => (
        <Large
          key={name}
          label={name === "context" ? "start data" : name}
          characters={characters}
          fetch={async () => ((await whole(instance))[name as "context"] ?? null) as Json}
        />
      ))}
      <Data value={instance.metadata} label="metadata" />
      </div>
    </div>
  );
}

interface Detail {
  id: string;
  info: StepInfo | undefined;
  instance: Instance;
  now: number;
  close: () => void;
  want: (wanted: Wanted) => void;
}

function StepDetail({ id, info, instance, now, close, want }: Detail) {
  const step: StepView | undefined = instance.steps?.[id];
  const times: [string, string | undefined][] = [
    ["started", step?.started_at],
    ["ended", step?.ended_at],
    [step?.status === "looping" ? "next round" : "tried again", step?.retry_at],
    ["waits until", step?.deadline],
  ];
  return (
    <div class="two">
      <div>
      <h3>
        {id}
        <button type="button" class="quiet" onClick={close} aria-label="Close the step">
          close
        </button>
      </h3>
      <p>
        <Status status={step?.status ?? "pending"} />
      </p>
      <dl>
        <div>
          <dt>state</dt>
          <dd>{detailOf(step, instance, now)}</dd>
        </div>
        {step?.event && (
          <div>
            <dt>event</dt>
            <dd>{step.fail === undefined ? step.event : `${step.event}, which leads to FAIL${step.fail ? `: ${step.fail}` : ""}`}</dd>
          </div>
        )}
        {(step?.attempt ?? 0) > 0 && (
          <div>
            <dt>attempt</dt>
            <dd>{step?.attempt}</dd>
          </div>
        )}
        {step?.round && (
          <div>
            <dt>round</dt>
            <dd>{`${step.round}${step.rounds ? ` of at most ${step.rounds}` : ""}`}</dd>
          </div>
        )}
        {info?.checkpoint === false && (
          <div>
            <dt>checkpoint</dt>
            <dd>none, its result is written with the next commit</dd>
          </div>
        )}
        {step?.child && (
          <div>
            <dt>child</dt>
            <dd>
              <a href={instanceHash(step.child)}>{step.child}</a>
            </dd>
          </div>
        )}
        {step?.alone && (
          <div>
            <dt>runs</dt>
            <dd>alone, as its process died</dd>
          </div>
        )}
        {step?.in_line && (
          <div>
            <dt>in line</dt>
            <dd>{plural(step.in_line, "event")}</dd>
          </div>
        )}
        {times.map(([name, at]) =>
          at ? (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{`${exact(at)}${name === "waits until" ? ` (${until(at, now)})` : ""}`}</dd>
            </div>
          ) : null,
        )}
        {step?.accepts?.length ? (
          <div>
            <dt>takes</dt>
            <dd>{step.accepts.join(", ")}</dd>
          </div>
        ) : null}
      </dl>
      </div>
      <div>
      {step?.error && <ErrorText error={step.error} />}
      {step?.progress && <Items instance={instance} step={id} progress={step.progress} want={want} />}
      <Data value={step?.results} label="results" />
      <Data value={step?.carry} label="carry" />
      {Object.entries(step?.large ?? {}).map(([name, characters]) => (
        <Large
          key={name}
          label={name}
          characters={characters}
          fetch={async () => ((await whole(instance)).steps?.[id]?.[name as "results" | "carry"] ?? null) as Json}
        />
      ))}
      </div>
    </div>
  );
}

function StepTable({ instance, now, selected, select }: { instance: Instance; now: number; selected: string | undefined; select: (step: string) => void }) {
  return (
    <div class="steps">
      <p class="notice">{`${instance.workflow} v${instance.version} is not deployed, so its graph is not known. These are the steps that something happened to.`}</p>
      <ul>
        {Object.entries(instance.steps ?? {}).map(([key, step]) => (
          <li key={key}>
            <button type="button" class="name" aria-pressed={selected === key} onClick={() => select(key)}>
              {key}
            </button>
            <Status status={step.status} />
            <span class="note">{detailOf(step, instance, now)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
