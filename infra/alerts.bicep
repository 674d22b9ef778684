// Three rules over the log events of the app; docs/operations.md says what each means and what to do.
param location string
param tags object
param applicationInsightsId string
param email string

var rules = [
  {
    name: 'mint-failures'
    severity: 1
    description: 'More than 5 % of the mints of a quarter of an hour, and more than one, ended in 5xx.'
    query: loadTextContent('queries/alert-failure-ratio.kql')
    every: 'PT5M'
    window: 'PT15M'
    range: 'PT15M'
  }
  {
    name: 'mint-throttled'
    severity: 2
    description: 'Azure OpenAI throttled five mints or more in a quarter of an hour.'
    query: loadTextContent('queries/alert-throttled.kql')
    every: 'PT5M'
    window: 'PT15M'
    range: 'PT15M'
  }
  {
    name: 'transcription-evidence'
    severity: 3
    description: 'Azure mints with the transcription block, which it did not on the day before; or no longer does.'
    query: loadTextContent('queries/alert-evidence-changed.kql')
    every: 'PT15M'
    window: 'PT15M'
    // An instance tells its first answer too: what is new shows only beside the day before.
    range: 'P1D'
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-mint'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'mint'
    enabled: true
    emailReceivers: [
      {
        name: 'operator'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alert 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [
  for rule in rules: {
    name: rule.name
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.name
      description: rule.description
      severity: rule.severity
      enabled: true
      scopes: [applicationInsightsId]
      evaluationFrequency: rule.every
      windowSize: rule.window
      overrideQueryTimeRange: rule.range
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: { actionGroups: empty(email) ? [] : [people.id] }
    }
  }
]
