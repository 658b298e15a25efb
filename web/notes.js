/**
 * Keeps on a node what its last run told.
 *
 * The pack's nodes tell of a run in a text on themselves. Newer front ends take such texts away as
 * soon as the run ends, before anybody has read them: then it comes back here, until the node runs
 * again.
 */

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

const NAME = 'PCDM.Notes'
const [NOTE, HOSTS_NOTE] = ['pcdm_note', '$$node-text-preview']
const PATIENCE = 300 // milliseconds in which the front end may take its own text away
const [LINE, LETTER, MARGIN, BORDER] = [17, 6, 40, 32] // pixels

const texts = new Map() // of nodes that told something in the run

function noteOf(node, name = NOTE) {
  return node.widgets?.find((widget) => widget.name === name)
}

function addNote(node, text) {
  const element = document.createElement('div')
  element.className = 'pcdm-note'
  element.setAttribute('role', 'status')
  element.textContent = text
  Object.assign(element.style, {
    boxSizing: 'border-box',
    padding: '4px 8px',
    overflow: 'auto',
    color: 'var(--input-text, #ddd)',
    font: `12px/${LINE}px system-ui, sans-serif`,
    overflowWrap: 'anywhere',
    userSelect: 'text',
    whiteSpace: 'pre-wrap'
  })
  const letters = Math.max((node.size[0] - MARGIN) / LETTER, 10)
  const lines = text.split('\n').map((line) => Math.max(Math.ceil(line.length / letters), 1))
  const height = Math.min(lines.reduce((sum, count) => sum + count, 0), 14) * LINE + BORDER
  const sizes = { getMinHeight: () => height, getMaxHeight: () => height }
  const widget = node.addDOMWidget(NOTE, 'PCDM_NOTE', element, { serialize: false, ...sizes })
  widget.serialize = false
  node.setSize?.([node.size[0], Math.max(node.size[1], node.computeSize()[1])])
}

function removeNote(node) {
  const note = noteOf(node)
  if (note) node.removeWidget(note)
}

function showNotes() {
  for (const [node, text] of texts) {
    const hosts = noteOf(node, HOSTS_NOTE)
    if (hosts) hosts.serialize = false // older front ends save it with the workflow
    else if (node.graph && !noteOf(node)) addNote(node, text)
  }
  app.graph?.setDirtyCanvas(true, true)
}

/** The front end shows a new text; what does not run again keeps its own. */
function removeOlder({ detail }) {
  const number = String(detail?.nodeId).split(':').at(-1)
  for (const node of texts.keys()) if (String(node.id) === number) removeNote(node)
}

function takeNotes(node) {
  const before = node.onExecuted
  node.onExecuted = function (message) {
    before?.call(this, message)
    const text = message?.text?.[0]
    removeNote(this)
    if (typeof text === 'string' && text) texts.set(this, text)
    else texts.delete(this)
  }
}

// Two copies of the pack serve this file twice; the first one is enough.
if (!app.extensions?.some((extension) => extension.name === NAME)) {
  app.registerExtension({
    name: NAME,
    nodeCreated(node) {
      if (node.comfyClass?.startsWith('PCDM')) takeNotes(node)
    },
    setup() {
      api.addEventListener('progress_text', removeOlder)
      for (const end of ['execution_success', 'execution_error', 'execution_interrupted']) {
        api.addEventListener(end, () => setTimeout(showNotes, PATIENCE))
      }
    }
  })
}
