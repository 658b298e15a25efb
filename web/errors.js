/**
 * Shows the sentence of an error where people look.
 *
 * Newer front ends say of every error that "this node threw an error during execution" and keep
 * its sentence two clicks away; what a node says against its inputs before the run likewise. Of
 * this pack's nodes it comes as a toast here, as plain text, unless the page shows it already.
 */

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

const NAME = 'PCDM.Errors'
const LONGEST = { title: 80, sentence: 600 }
const PATIENCE = 500 // milliseconds in which the front end may show the sentence itself
const [LOOK, LAST_LOOK] = [150, 60_000] // milliseconds between looks for a refusal, and of all
/** How lines of a traceback name this pack's files. */
const FOLDER = decodeURIComponent(new URL('.', import.meta.url).pathname.split('/').at(-2) ?? '')

let toasts = [] // functions that close what is on screen
let refusals = null // the host's object of refused nodes that was shown last
let looks = null

function short(text, length) {
  const line = String(text ?? '').replace(/\s+/g, ' ').trim()
  return line.length > length ? `${line.slice(0, length - 1)}…` : line
}

/** What the node of an execution id ("7", or "3:7" in a subgraph) is called on the canvas. */
function titleOf(id, type) {
  let [graph, node] = [app.rootGraph ?? app.graph, null]
  for (const step of String(id).split(':')) {
    node = graph?.getNodeById?.(step) ?? graph?.getNodeById?.(Number(step))
    graph = node?.subgraph
  }
  return node?.title || type
}

function isOnScreen(sentence) {
  return short(document.body.innerText, Infinity).includes(sentence)
}

function show(id, type, text) {
  const sentence = short(text, LONGEST.sentence)
  if (!sentence) return
  const title = short(titleOf(id, type), LONGEST.title)
  setTimeout(() => {
    if (!isOnScreen(sentence)) toasts.push(openToast(title, sentence))
  }, PATIENCE)
}

/** Stays until it is closed; the function that does so. */
function openToast(title, sentence) {
  const { toast } = app.extensionManager
  if (typeof toast.dismiss === 'function') {
    const id = toast.error(title, { description: sentence })
    return () => toast.dismiss(id)
  }
  const message = { severity: 'error', summary: title, detail: sentence }
  toast.add(message)
  return () => toast.remove(message)
}

function closeToasts() {
  for (const close of toasts) close()
  toasts = []
}

/** An error of our nodes, or one that our code raised inside another's (a sampler of the host). */
function isOurs({ node_type: type, traceback }) {
  const last = String(traceback?.at?.(-1) ?? '').split('\n')[0].split(/[\\/]/)
  return String(type).startsWith('PCDM') || (FOLDER !== '' && last.includes(FOLDER))
}

function showFailure({ detail }) {
  if (isOurs(detail)) show(detail.node_id, detail.node_type, detail.exception_message)
}

/** Shows what nodes said against their inputs; whether there was anything new. */
function showRefusals() {
  const nodes = app.lastNodeErrors
  if (!nodes || nodes === refusals) return false
  refusals = nodes
  for (const [id, { class_type: type, errors }] of Object.entries(nodes)) {
    if (!String(type).startsWith('PCDM')) continue
    for (const { type: kind, details, extra_info: more } of errors) {
      if (kind !== 'custom_validation_failed') continue // the others are the host's own sentences
      show(id, type, String(details).replace(`${more?.input_name} - `, ''))
    }
  }
  return true
}

/** A run is on its way to the server, whose reply the front end keeps and tells nobody. */
function awaitReply() {
  closeToasts()
  clearInterval(looks)
  const end = Date.now() + LAST_LOOK
  looks = setInterval(() => {
    if (showRefusals() || Date.now() > end) clearInterval(looks)
  }, LOOK)
}

/** The reply is there; older front ends tell nothing before it. */
function readReply() {
  if (looks === null) closeToasts()
  showRefusals()
}

// Two copies of the pack serve this file twice; the first one is enough.
if (!app.extensions?.some((extension) => extension.name === NAME)) {
  app.registerExtension({
    name: NAME,
    setup() {
      api.addEventListener('execution_error', showFailure)
      api.addEventListener('promptQueueing', awaitReply)
      api.addEventListener('promptQueued', readReply)
    }
  })
}
