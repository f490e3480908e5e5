// Reads {"policies": [...], "requests": [...]} from standard input and writes one verdict a request: Allowed, ExplicitlyDenied,
// ImplicitlyDenied, or ERROR and why. A request names its policies by their place, so that each is sent once.
// Run where node_modules holds the engine: node evaluate.mjs <folder of node_modules>
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const { runSimulation } = createRequire(`${process.argv[2]}/`)('@cloud-copilot/iam-simulate')
const { policies, requests } = JSON.parse(readFileSync(0, 'utf8'))
const everything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
const organization = [{ orgIdentifier: 'r-1', policies: [{ name: 'FullAccess', policy: everything }] }]

async function verdict({ principal, action, resource, owner, context, identity, guard }) {
  const found = await runSimulation(
    {
      request: { principal, action, resource: { resource, accountId: owner }, contextVariables: context },
      identityPolicies: identity.map((place) => ({ name: `policy ${place}`, policy: policies[place] })),
      serviceControlPolicies: organization,
      resourceControlPolicies: [],
      ...(guard === null ? {} : { resourcePolicy: policies[guard] }),
    },
    {},
  )
  return found.resultType === 'error' ? `ERROR ${JSON.stringify(found.errors)}` : found.overallResult
}

const verdicts = []
for (const request of requests) verdicts.push(await verdict(request))
process.stdout.write(JSON.stringify(verdicts))
